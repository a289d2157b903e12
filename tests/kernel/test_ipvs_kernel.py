"""The client and a real kernel, each test in a network namespace of its own."""

import ctypes
import errno
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bigtable import big_table
from support.fake_ipvs import FakeIpvs
from support.ipvs_strategies import KEYS, tables

from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.control import SyncDaemon, SyncState, Timeouts
from lvskeeper.ipvs.dialect import MAINLINE, Dialect
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.operation import (
    AddDest,
    AddService,
    DelDest,
    DelService,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceFlag,
    ServiceKey,
    TunnelType,
)
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.units import NO_ADDRESS, parse_address

pytestmark = [pytest.mark.ipvs, pytest.mark.root]

CLONE_NEWNET = 0x40000000
WEB = KEYS[0]
SERVER = Destination(DestKey(parse_address("198.51.100.1"), 8080), Forward.NAT)
NOBODY: frozenset[ServiceKey] = frozenset()


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def client() -> Iterator[IpvsClient]:
    """A client in a new network namespace, which this thread is in meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        run("ip", "link", "set", "lo", "up")
        found = IpvsClient()
        found.open()
        yield found
        found.close()
    finally:
        assert libc.setns(back, CLONE_NEWNET) == 0
        os.close(back)


def saved() -> list[str]:
    return sorted(line.rstrip() for line in run("ipvsadm", "-Sn").splitlines())


def key(text: str, port: int, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    address = parse_address(text)
    return ServiceKey(Family.of(address), protocol, address, port)


def dest(text: str, port: int, forward: Forward = Forward.NAT, weight: int = 1) -> Destination:
    return Destination(DestKey(parse_address(text), port), forward, weight)


def entry(service: Service, *destinations: Destination) -> Entry:
    return Entry(service, {each.key: each for each in destinations})


PERSISTENT = ServiceFlag.PERSISTENT
V4, V6 = "192.0.2.1", "2001:db8::1"
TUNNEL = dest("198.51.100.5", 80, Forward.TUN)
GUE = TUNNEL._replace(tunnel_type=TunnelType.GUE, tunnel_port=6080)


def at_port(destination: Destination, port: int) -> Destination:
    """Return it with another port: ipvsadm gives tunnels and DR that of the service."""
    return destination._replace(key=DestKey(destination.key.address, port))


ON_GUE = "-i -w 1 --tun-type gue --tun-port 6080"
KINDS: list[tuple[Entry, list[str]]] = [
    (
        entry(
            Service(key(V4, 80), "wlc"),
            dest("198.51.100.1", 8080, weight=7),
            dest("198.51.100.2", 80, Forward.DR, 0),
            dest("198.51.100.3", 81)._replace(upper=100, lower=50),
            TUNNEL,
        ),
        [
            "-A -t 192.0.2.1:80 -s wlc",
            "-a -t 192.0.2.1:80 -r 198.51.100.1:8080 -m -w 7",
            "-a -t 192.0.2.1:80 -r 198.51.100.2:80 -g -w 0",
            "-a -t 192.0.2.1:80 -r 198.51.100.3:81 -m -w 1 -x 100 -y 50",
            "-a -t 192.0.2.1:80 -r 198.51.100.5:80 -i -w 1 --tun-type ipip",
        ],
    ),
    (
        entry(Service(key(V4, 81), "rr"), at_port(GUE, 81)._replace(tunnel_flags=1)),
        [
            "-A -t 192.0.2.1:81 -s rr",
            f"-a -t 192.0.2.1:81 -r 198.51.100.5:81 {ON_GUE} --tun-csum",
        ],
    ),
    (
        entry(Service(key(V4, 82), "rr"), at_port(GUE, 82)._replace(tunnel_flags=2)),
        [
            "-A -t 192.0.2.1:82 -s rr",
            f"-a -t 192.0.2.1:82 -r 198.51.100.5:82 {ON_GUE} --tun-remcsum",
        ],
    ),
    (
        entry(
            Service(key(V4, 83), "rr"),
            at_port(TUNNEL, 83)._replace(tunnel_type=TunnelType.GRE, tunnel_flags=1),
            dest("2001:db8:1::1", 83, Forward.TUN),
        ),
        [
            "-A -t 192.0.2.1:83 -s rr",
            "-a -t 192.0.2.1:83 -r 198.51.100.5:83 -i -w 1 --tun-type gre --tun-csum",
            "-a -t 192.0.2.1:83 -r [2001:db8:1::1]:83 -i -w 1 --tun-type ipip",
        ],
    ),
    (
        entry(Service(key(V4, 443), "wrr", PERSISTENT, 300, 24)),
        ["-A -t 192.0.2.1:443 -s wrr -p 300 -M 255.255.255.0"],
    ),
    (
        entry(Service(key(V4, 0), "lc", PERSISTENT, 60)),
        ["-A -t 192.0.2.1:0 -s lc -p 60"],
    ),
    (
        entry(Service(key(V4, 53, Protocol.UDP), "rr", ServiceFlag.ONE_PACKET)),
        ["-A -u 192.0.2.1:53 -s rr -o"],
    ),
    (
        entry(Service(key(V4, 5060, Protocol.UDP), "rr", PERSISTENT, 60, engine="sip")),
        ["-A -u 192.0.2.1:5060 -s rr -p 60 --pe sip"],
    ),
    (
        entry(Service(key(V4, 99, Protocol.SCTP), "lblc")),
        ["-A --sctp-service 192.0.2.1:99 -s lblc"],
    ),
    (
        entry(Service(key(V4, 84), "sh", ServiceFlag.SCHED_1 | ServiceFlag.SCHED_2)),
        ["-A -t 192.0.2.1:84 -s sh -b sh-fallback,sh-port"],
    ),
    (
        entry(Service(key(V4, 85), "mh", ServiceFlag.SCHED_2)),
        ["-A -t 192.0.2.1:85 -s mh -b mh-port"],
    ),
    (
        entry(Service(KEYS[4], "wlc"), dest("198.51.100.1", 0, Forward.DR, 3)),
        ["-A -f 7 -s wlc", "-a -f 7 -r 198.51.100.1:0 -g -w 3"],
    ),
    (
        entry(Service(KEYS[5], "sed", prefix=128), dest("2001:db8:1::1", 0, Forward.DR, 3)),
        ["-A -f 7 -6 -s sed", "-a -f 7 -6 -r [2001:db8:1::1]:0 -g -w 3"],
    ),
    (
        entry(
            Service(key(V6, 80), "nq", prefix=128),
            dest("2001:db8:1::1", 8080, weight=9),
            dest("198.51.100.4", 80, Forward.TUN),
        ),
        [
            "-A -t [2001:db8::1]:80 -s nq",
            "-a -t [2001:db8::1]:80 -r [2001:db8:1::1]:8080 -m -w 9",
            "-a -t [2001:db8::1]:80 -r 198.51.100.4:80 -i -w 1 --tun-type ipip",
        ],
    ),
    (
        entry(Service(key(V6, 81), "wrr", PERSISTENT, 90, 64)),
        ["-A -t [2001:db8::1]:81 -s wrr -p 90 -M 64"],
    ),
]


def test_every_kind_of_service_and_destination_is_held_as_it_was_written(
    client: IpvsClient,
) -> None:
    assert client.dialect is Dialect.MAINLINE
    unsaved = re.compile(" -x [0-9]+ -y [0-9]+")  # ipvsadm does not save thresholds
    wanted = {each.service.key: each for each, _ in KINDS}
    assert len(wanted) == len(KINDS)

    assert client.apply(diff(wanted, client.table(), NOBODY)) == []

    assert client.table() == wanted
    assert saved() == sorted(unsaved.sub("", line) for _, lines in KINDS for line in lines)
    assert diff(wanted, client.table(), NOBODY) == []


def test_what_ipvsadm_wrote_is_read_alike(client: IpvsClient) -> None:
    lines = "".join(line + "\n" for _, found in KINDS for line in found)
    subprocess.run(["ipvsadm", "-R"], input=lines, text=True, check=True, timeout=60)

    assert client.table() == {each.service.key: each for each, _ in KINDS}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_kernel_does_what_the_one_in_memory_does(
    client: IpvsClient, data: st.DataObject
) -> None:
    """From whatever the example before has left: replay a diff on both, compare the tables."""
    fake = FakeIpvs(MAINLINE)
    actual = client.table()
    fake.load(actual)
    for _ in range(2):
        desired = data.draw(tables(MAINLINE))
        owned = frozenset(actual)
        operations = diff(desired, actual, owned)

        assert client.apply(operations) == []
        assert fake.apply(operations) == []

        actual = client.table()
        assert actual == desired
        assert fake.table == desired
        assert diff(desired, actual, owned) == []


OTHER = KEYS[1]
MULTICAST = SERVER._replace(key=DestKey(parse_address("224.0.0.1"), 80))
REFUSED: list[tuple[Operation, int, str]] = [
    (AddService(Service(WEB, "wlc")), errno.EEXIST, "another program"),
    (AddService(Service(OTHER, "nonesuch")), errno.ENOENT, "module ip_vs_nonesuch"),
    (SetService(Service(WEB, "nonesuch"), Service(WEB, "wlc")), errno.ENOENT, "ip_vs_nonesuch"),
    (SetService(Service(OTHER, "rr"), Service(OTHER, "wlc")), errno.ESRCH, "gone"),
    (DelService(OTHER), errno.ESRCH, "gone already"),
    (AddDest(WEB, SERVER), errno.EEXIST, "there already"),
    (AddDest(OTHER, SERVER), errno.ESRCH, "service is gone"),
    (AddDest(WEB, MULTICAST), errno.EINVAL, "unicast"),
    (AddDest(WEB, GUE._replace(tunnel_port=0)), errno.EINVAL, "takes no such real server"),
    (AddDest(WEB, dest("2001:db8:1::1", 80)), errno.EINVAL, "family"),
    (AddDest(WEB, TUNNEL._replace(upper=1, lower=2)), errno.ERANGE, "threshold"),
    (SetDest(WEB, SERVER._replace(weight=-1), SERVER), errno.ERANGE, "negative"),
    (SetDest(WEB, TUNNEL, TUNNEL), errno.ENOENT, "gone"),
    (DelDest(WEB, TUNNEL), errno.ENOENT, "gone"),
]


def test_refusals_are_told_in_words_and_are_those_of_the_kernel_in_memory(
    client: IpvsClient,
) -> None:
    start: list[Operation] = [AddService(Service(WEB, "wlc")), AddDest(WEB, SERVER)]
    operations = start + [operation for operation, _, _ in REFUSED]
    fake = FakeIpvs(MAINLINE)

    failures = client.apply(operations)

    assert [(each.operation, each.errno) for each in failures] == [
        (operation, number) for operation, number, _ in REFUSED
    ]
    assert fake.apply(operations) == [(operation, number) for operation, number, _ in REFUSED]
    for failure, (_, _, words) in zip(failures, REFUSED, strict=True):
        assert words in failure.message
        assert str(failure.operation.service) in failure.message


def test_other_programs_services_stay(client: IpvsClient) -> None:
    run("ipvsadm", "-A", "-t", "203.0.113.80:80", "-s", "mh", "-b", "mh-port")
    run("ipvsadm", "-a", "-t", "203.0.113.80:80", "-r", "198.51.100.9:80", "-g")
    before = saved()
    ours = {WEB: entry(Service(WEB, "wlc"), SERVER)}

    assert client.apply(diff(ours, client.table(), frozenset(ours))) == []
    assert set(saved()) > set(before)
    assert client.apply(diff({}, client.table(), frozenset(ours))) == []

    assert saved() == before


def test_a_thousand_services_with_twenty_servers_each(client: IpvsClient) -> None:
    wanted = big_table(1000, 20)

    assert client.apply(diff(wanted, client.table(), NOBODY)) == []

    assert diff(wanted, client.table(), NOBODY) == []
    assert sum(line.startswith("-a") for line in saved()) == 20_000


def test_an_error_for_every_one_of_many_requests(client: IpvsClient) -> None:
    wanted = big_table(100, 20)
    operations = diff(wanted, {}, NOBODY)
    assert client.apply(operations) == []

    failures = client.apply(operations)

    assert [each.operation for each in failures] == operations
    assert {each.errno for each in failures} == {errno.EEXIST}


def test_counters_timeouts_and_version(client: IpvsClient) -> None:
    client.apply([AddService(Service(WEB, "wlc")), AddDest(WEB, SERVER)])

    stats = client.stats(WEB)
    client.zero(WEB)
    client.zero()
    client.set_timeouts(Timeouts(tcp=600, udp=200))

    assert stats.counters.connections == 0
    assert [each.key for each in stats.destinations] == [SERVER.key]
    assert list(client.loads(WEB)) == [(SERVER.key, 0)]
    assert client.timeouts() == Timeouts(600, 120, 200)
    assert client.info().version == 0x010201
    with pytest.raises(OperatorError, match="No such process"):
        client.stats(OTHER)


def test_sync_daemons(client: IpvsClient) -> None:
    run("ip", "link", "add", "sync0", "type", "dummy")
    run("ip", "address", "add", "203.0.113.1/24", "dev", "sync0")
    run("ip", "link", "set", "sync0", "up", "multicast", "on")
    group = parse_address("224.0.0.90")
    master = SyncDaemon(SyncState.MASTER, "sync0", 7, 1400, group, 8849, 2)

    client.start_daemon(master)
    client.start_daemon(SyncDaemon(SyncState.BACKUP, "sync0", 8))

    found = {each.state: each for each in client.daemons()}
    assert found[SyncState.MASTER] == master
    assert found[SyncState.BACKUP].sync_id == 8
    assert found[SyncState.BACKUP].group != NO_ADDRESS
    with pytest.raises(OperatorError, match="start the master sync daemon on sync0: File exists"):
        client.start_daemon(master)
    client.stop_daemon(SyncState.MASTER)
    client.stop_daemon(SyncState.BACKUP)
    assert client.daemons() == []
    with pytest.raises(OperatorError, match="stop the backup sync daemon: No such process"):
        client.stop_daemon(SyncState.BACKUP)


def test_two_clients_see_one_table(client: IpvsClient) -> None:
    other = IpvsClient()
    other.open()
    client.apply([AddService(Service(WEB, "wlc"))])
    client.apply([AddDest(WEB, SERVER)])

    assert other.table() == {WEB: entry(Service(WEB, "wlc"), SERVER)}
    client.flush()
    assert other.table() == {}
    other.close()
