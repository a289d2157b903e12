import errno
from collections import deque
from dataclasses import replace
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bigtable import big_table
from support.fake_ipvs import EST_DEFAULT, FAMILY, FakeIpvs, FakeSocket
from support.ipvs_captures import recorded
from support.ipvs_strategies import KEYS, tables

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.control import Counters, SyncState
from lvskeeper.ipvs.dialect import FORK_V2, FORK_V3, GENL_ID_CTRL, MAINLINE, Dialect, Traits
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.encode import Command
from lvskeeper.ipvs.operation import (
    AddDest,
    AddLocal,
    AddService,
    DelDest,
    DelLocal,
    DelService,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Forward,
    Service,
    ServiceFlag,
    TunnelType,
)
from lvskeeper.ipvs.wire import NLMSG_ERROR, message
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.ipvs_errors import explain
from lvskeeper.kernel.netlink import Channel, NetlinkError, NetlinkLostError
from lvskeeper.units import parse_address

WEB = KEYS[0]
KEY = DestKey(parse_address("198.51.100.1"), 8080)
SERVER = Destination(KEY, Forward.NAT)
LIP = parse_address("203.0.113.1")
DIALECTS = pytest.mark.parametrize(
    "traits", [MAINLINE, FORK_V2, FORK_V3], ids=lambda traits: traits.dialect.value
)


def client_of(kernel: FakeIpvs) -> IpvsClient:
    client = IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls)
    client.open()
    return client


def refused_open(client: IpvsClient) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        client.open()
    return caught.value


@DIALECTS
def test_open_probes_before_any_write(traits: Traits) -> None:
    kernel = FakeIpvs(traits)
    client = client_of(kernel)

    assert client.dialect is traits.dialect
    assert kernel.writes == []


def test_a_third_fork_without_visible_sysctls_shows_by_its_services() -> None:
    kernel = FakeIpvs(FORK_V3)
    kernel.apply([AddService(Service(WEB, "rr"))])
    client = IpvsClient(kernel.socket, sysctls=frozenset)
    client.open()

    assert client.dialect is Dialect.FORK_V3
    assert client.traits.established_default == 900


def test_a_missing_module_is_loaded_once() -> None:
    kernel = FakeIpvs()
    kernel.loaded = False
    calls = []

    def load() -> None:
        calls.append("ip_vs")
        kernel.loaded = True

    client = IpvsClient(kernel.socket, load=load, sysctls=frozenset)
    client.open()

    assert calls == ["ip_vs"]
    assert client.services() == {}


def test_no_module_at_all_is_told() -> None:
    kernel = FakeIpvs()
    kernel.loaded = False

    error = refused_open(IpvsClient(kernel.socket, load=lambda: None, sysctls=frozenset))

    assert error.status is ExitStatus.UNSUPPORTED
    assert error.message == "this kernel has no IPVS"
    assert "modprobe ip_vs" in error.hint


def test_a_missing_privilege_is_told() -> None:
    kernel = FakeIpvs()
    kernel.permitted = False
    client = client_of(kernel)

    with pytest.raises(OperatorError) as caught:
        client.services()

    assert caught.value.status is ExitStatus.PERMISSION
    assert "CAP_NET_ADMIN" in caught.value.hint


@DIALECTS
@given(data=st.data())
def test_what_is_written_is_read_back(traits: Traits, data: st.DataObject) -> None:
    rendered = replace(traits, established_default=EST_DEFAULT)
    desired, actual = data.draw(tables(rendered)), data.draw(tables(rendered))
    kernel = FakeIpvs(traits)
    kernel.load(actual)
    client = client_of(kernel)
    assert client.table() == actual

    owned = frozenset(actual)
    assert client.apply(diff(desired, client.table(), owned), batch=3) == []

    assert client.table() == desired
    assert client.table(frozenset(desired)) == desired
    assert diff(desired, client.table(), owned) == []


def test_a_thousand_services_in_batches_without_a_failure() -> None:
    kernel = FakeIpvs()
    client = client_of(kernel)
    wanted = big_table(120, 20)

    assert client.apply(diff(wanted, {}, frozenset())) == []
    assert kernel.table == wanted
    kernel.writes.clear()
    assert client.apply(diff(wanted, client.table(), frozenset(wanted))) == []
    assert kernel.writes == []


def test_failures_name_their_operation_and_do_not_stop_the_others() -> None:
    kernel = FakeIpvs()
    client = client_of(kernel)
    other = DestKey(parse_address("198.51.100.2"), 80)
    operations: list[Operation] = [
        AddService(Service(WEB, "rr")),
        AddService(Service(WEB, "rr")),
        AddDest(WEB, SERVER),
        AddDest(KEYS[1], SERVER),
        AddService(Service(KEYS[1], "nonesuch")),
        DelDest(WEB, SERVER._replace(key=other)),
    ]

    failures = client.apply(operations)

    assert [(each.operation, each.errno) for each in failures] == [
        (operations[1], errno.EEXIST),
        (operations[3], errno.ESRCH),
        (operations[4], errno.ENOENT),
        (operations[5], errno.ENOENT),
    ]
    assert failures[2].message == (
        "cannot add service tcp 192.0.2.1:443 (nonesuch): scheduler nonesuch is not available in"
        " this kernel (module ip_vs_nonesuch)"
    )
    assert list(kernel.table[WEB].destinations) == [KEY]


REFUSED: list[tuple[Traits, Operation]] = [
    (MAINLINE, AddDest(WEB, SERVER._replace(forward=Forward.FULLNAT))),
    (MAINLINE, SetDest(WEB, SERVER._replace(forward=Forward.FULLNAT), SERVER)),
    (MAINLINE, AddService(Service(WEB, "rr", ServiceFlag.SYNPROXY))),
    (MAINLINE, AddService(Service(WEB, "rr", established=60))),
    (MAINLINE, AddLocal(WEB, LIP)),
    (FORK_V2, AddService(Service(WEB, "rr", established=60))),
    (FORK_V3, AddService(Service(WEB, "rr", engine="sip"))),
    (FORK_V3, AddDest(WEB, SERVER._replace(forward=Forward.TUN, tunnel_type=TunnelType.GRE))),
    (FORK_V3, AddDest(KEYS[3], SERVER)),
]


@pytest.mark.parametrize(("traits", "operation"), REFUSED)
def test_what_a_kernel_would_swallow_never_leaves(traits: Traits, operation: Operation) -> None:
    kernel = FakeIpvs(traits)
    client = client_of(kernel)

    (failure,) = client.apply([AddService(Service(KEYS[1], "rr")), operation])

    assert failure.operation == operation
    assert failure.errno == errno.EOPNOTSUPP
    assert failure.message.startswith("not with this kernel's IPVS: ")
    assert kernel.writes == [Command.NEW_SERVICE]


@pytest.mark.parametrize(
    ("operation", "number", "words"),
    [
        (SetService(Service(WEB, "rr"), Service(WEB, "wrr")), errno.ESRCH, "another program"),
        (AddService(Service(WEB, "rr", engine="sip")), errno.ENOENT, "ip_vs_pe_sip"),
        (AddService(Service(WEB, "rr")), errno.EINVAL, "takes no such"),
        (AddService(Service(WEB, "rr")), errno.EAFNOSUPPORT, "without IPv6"),
        (DelService(WEB), errno.ESRCH, "gone already"),
        (DelService(WEB), errno.EPERM, "CAP_NET_ADMIN"),
        (AddDest(WEB, SERVER), errno.EEXIST, "there already"),
        (AddDest(WEB, SERVER), errno.EINVAL, "unicast"),
        (SetDest(WEB, SERVER, SERVER), errno.ERANGE, "threshold"),
        (SetDest(WEB, SERVER, SERVER), errno.ENOENT, "gone"),
        (AddLocal(WEB, LIP), errno.EEXIST, "there already"),
        (DelLocal(WEB, LIP), errno.ENOENT, "gone"),
        (DelLocal(WEB, LIP), errno.ESRCH, "service is gone"),
        (AddLocal(WEB, LIP), errno.EOPNOTSUPP, "not a FULLNAT kernel's"),
        (AddLocal(WEB, LIP), errno.EINVAL, "the service's family"),
        (AddLocal(WEB, LIP), errno.EAFNOSUPPORT, "pool of IPv4"),
        (DelLocal(WEB, LIP), errno.EACCES, "CAP_NET_ADMIN"),
        (AddService(Service(WEB, "rr")), errno.EEXIST, "made by another program"),
        (AddService(Service(WEB, "x" * 17)), errno.ERANGE, "too long"),
        (DelService(WEB), errno.EOPNOTSUPP, "does not know the command"),
        (AddLocal(WEB, LIP), errno.EIO, "Input/output error"),
    ],
)
def test_errors_in_words(operation: Operation, number: int, words: str) -> None:
    text = explain(operation, number)

    assert text.startswith(f"cannot {operation}: ")
    assert words in text


@DIALECTS
def test_counters_and_connections(traits: Traits) -> None:
    kernel = FakeIpvs(traits)
    client = client_of(kernel)
    client.apply([AddService(Service(WEB, "rr")), AddDest(WEB, SERVER)])

    stats = client.stats(WEB)

    assert stats.counters == Counters(1, 2, 3, 4, 5)
    (server,) = stats.destinations
    assert (server.key, server.active, server.inactive, server.persistent) == (KEY, 7, 8, 9)
    assert list(client.loads(WEB)) == [(KEY, 7 + 8)]
    assert server.counters == Counters(1, 2, 3, 4, 5)


def test_zeroing_is_not_tried_where_the_kernel_cannot() -> None:
    kernel = FakeIpvs(FORK_V3)

    with pytest.raises(OperatorError) as caught:
        client_of(kernel).zero()

    assert caught.value.status is ExitStatus.UNSUPPORTED
    assert kernel.writes == []


def test_version_and_timeouts() -> None:
    client = client_of(FakeIpvs())

    assert client.info().version == 0x010201
    assert client.timeouts().udp == 300


def test_a_sync_daemon_that_is_stopped_without_an_answer() -> None:
    kernel = FakeIpvs()
    kernel.newborn.add(SyncState.BACKUP)
    client = client_of(kernel)

    client.stop_daemon(SyncState.BACKUP)

    assert kernel.newborn == set()
    with pytest.raises(OperatorError, match="stop the backup sync daemon: No such process"):
        client.stop_daemon(SyncState.BACKUP)


class Scripted:
    """A socket that says what it was told to; an exception in the script is raised."""

    def __init__(self, *script: bytes | OSError) -> None:
        self.script = deque(script)
        self.sent: list[bytes] = []
        self.closed = 0

    def send(self, data: bytes, /) -> None:
        self.sent.append(data)

    def recv(self) -> bytes:
        item = self.script.popleft()
        if isinstance(item, OSError):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


def answer(sequence: int, code: int = 0) -> bytes:
    return message(NLMSG_ERROR, 0, sequence, pack("=i", -code) + bytes(16))


DONE = message(3, 2, 1, pack("=i", 0))


def test_lost_answers_of_a_batch_are_told() -> None:
    script = Scripted(OSError(errno.ENOBUFS, "No buffer space available"))
    channel = Channel(lambda: script)

    with pytest.raises(NetlinkLostError, match="No buffer space"):
        channel.batch(b"", 1)

    assert script.closed == 1


@pytest.mark.parametrize(
    "trouble",
    [OSError(errno.ENOBUFS, "lost"), BlockingIOError(errno.EAGAIN, "late"), answer(1, errno.EBUSY)],
)
def test_a_dump_is_repeated_once_on_a_new_socket(trouble: bytes | OSError) -> None:
    sockets = [Scripted(trouble), Scripted(DONE)]
    left = iter(sockets)
    channel = Channel(lambda: next(left))

    assert channel.dump(b"request", 1) == []
    assert [each.sent for each in sockets] == [[b"request"], [b"request"]]
    assert sockets[0].closed == 1


def test_a_dump_fails_the_second_time() -> None:
    channel = Channel(lambda: Scripted(answer(1, errno.EBUSY)))

    with pytest.raises(NetlinkError):
        channel.dump(b"request", 1)


def test_answers_to_older_requests_are_passed_over() -> None:
    channel = Channel(lambda: Scripted(answer(1, errno.EINVAL), answer(2)))

    assert channel.call(b"request", 2) == []


def test_a_socket_that_cannot_be_made_is_told() -> None:
    def factory() -> FakeSocket:
        raise OSError(errno.EMFILE, "Too many open files")

    error = refused_open(IpvsClient(factory, load=lambda: None, sysctls=frozenset))

    assert error.status is ExitStatus.KERNEL
    assert "Too many open files" in error.message


def test_a_module_that_was_loaded_anew_is_found_again() -> None:
    kernel = FakeIpvs()
    client = client_of(kernel)
    kernel.family = FAMILY + 1

    assert client.services() == {}
    assert client.apply([AddService(Service(WEB, "rr"))]) == []


class Playback:
    """A socket that answers with what a kernel was recorded to say."""

    def __init__(self, name: str) -> None:
        self._recorded = [each for each in recorded(name) if not each.to_kernel]
        self._answers: deque[bytes] = deque()

    def send(self, data: bytes, /) -> None:
        if data[4] == GENL_ID_CTRL:
            found = [
                each.data
                for each in self._recorded
                if each.kind == GENL_ID_CTRL and b"IPVS" in each.data
            ]
            self._answer(found[:1], data)
            return
        wanted = {
            Command.GET_SERVICE: Command.NEW_SERVICE,
            Command.GET_DEST: Command.NEW_DEST,
            Command.GET_LADDR: Command.NEW_LADDR,
            Command.GET_CONFIG: Command.SET_CONFIG,
        }
        command = wanted[Command(data[16])]
        found = [each.data for each in self._recorded if each.is_ipvs and each.command == command]
        self._answer([*found, DONE], data)

    def _answer(self, found: list[bytes], request: bytes) -> None:
        self._answers = deque(each[:8] + request[8:12] + each[12:] for each in found)

    def recv(self) -> bytes:
        return self._answers.popleft()

    def close(self) -> None:
        self._answers.clear()


def test_recorded_answers_stand_behind_the_client() -> None:
    client = IpvsClient(
        lambda: Playback("fork-v3-ipvsadm"), sysctls=lambda: frozenset({"reserve_core"})
    )
    client.open()

    assert client.dialect is Dialect.FORK_V3
    assert {str(key) for key in client.services()} >= {"tcp 192.0.2.10:80", "tcp [2001:db8::10]:80"}
    assert Forward.FULLNAT in {each.forward for each in client.destinations(WEB).values()}
    assert LIP in client.local_addresses(WEB)
