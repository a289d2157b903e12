"""SYN cookies and defences on a real kernel, in front of NAT and FULLNAT.

One daemon serves the module, and so do some connections that live through all of it. The third
real server has a way back to the clients, as NAT needs it; the others have none.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from support.asking import ask
from support.speaker import SACK, TIMESTAMPS, WSCALE, Agreed, Speaker, greeted
from support.syn_count import SynCounter

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.flood import CLIENT_NETWORKS, Flood, Kind, forged_sources
from lvskeeper.lab.longlived import LongLived, connect_in
from lvskeeper.lab.netns import inside
from lvskeeper.lab.servers import Server, nginx_server, start_servers
from lvskeeper.lab.topology import BACK, FRONT, VIPS4, VIPS6, Laboratory, Plan, real_server
from lvskeeper.lab.wire import ETH_P_ALL

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(300),
]

PROXIED4, PLAIN4, NAT4, DEFENDED4 = VIPS4
PROXIED6, PLAIN6, NAT6, DEFENDED6 = VIPS6
CLIENTS4, CLIENTS6 = map(str, CLIENT_NETWORKS)
MORTAL: Final = 81
"""Port of a service with one real server, which dies."""
SMTP: Final = 25
SSH: Final = 22
LOUD: Final = 3000
"""SYNs that make a flood of which the daemon tells, in the time that they take."""
RATE: Final = 500
"""SYNs a second; as many as an emulated machine can take beside others."""
QUICK: Final = 1.0
"""Seconds that an answer of the director itself may take in an emulated machine."""
ANSWERED: Final = 2.0
"""Seconds after which a server's answer will not come."""
PATIENCE: Final = 90.0
COOKIES: Final = "syn_proxy\n"
MODULES: Final = (
    "ip_vs_rr",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_hash",
    "nft_synproxy",
)
"""What the kernel would load for the daemon, one after the other and from a slow file system."""
SYN, ACK = 0x02, 0x10


def service(
    vip: str,
    port: int,
    rport: int,
    *,
    servers: tuple[int, ...] = (1, 2),
    kind: str = "FNAT",
    protocol: str = "TCP",
    more: str = "",
    check: str = "",
) -> str:
    family = ":" in vip
    real = "".join(
        f"  real_server {real_server(number)[family]} {rport} {{\n    weight 1\n    {check}\n  }}\n"
        for number in servers
    )
    pool = "laddr_group_name lips\n" if kind == "FNAT" else ""
    return (
        f"virtual_server {vip} {port} {{\n  delay_loop 1\n  connect_timeout 1\n  retry 1\n"
        f"  delay_before_retry 0.3\n  lb_algo rr\n  lb_kind {kind}\n  protocol {protocol}\n"
        f"{pool}{more}{real}}}\n"
    )


def configuration(*, cookies: str = COOKIES) -> str:
    defences = "defence_tcp_drop yes\ndefence_udp_drop yes\n"
    closed = f"{cookies}defence_tcp_drop vip\n"
    parts = [f"global_defs {{\n  syn_flood_rate {RATE // 10}\n}}\n"]
    parts += ["local_address_group lips {\n  10.0.0.10-13 back\n  fd00::10-13 back\n}\n"]
    for proxied, plain, nat, defended in (VIPS4, VIPS6):
        parts += [
            service(proxied, 80, 8080, more=cookies),
            service(proxied, SMTP, 2525, more=cookies),
            service(plain, 80, 8080),
            service(plain, SMTP, 2525),
            service(plain, 53, 53, servers=(1,), protocol="UDP"),
            service(nat, 80, 8080, servers=(3,), kind="NAT", more=closed),
            service(nat, SMTP, 2525, servers=(3,), kind="NAT", more=cookies),
            service(nat, 53, 53, servers=(1,), protocol="UDP", more="defence_frag_drop yes\n"),
            service(defended, 80, 8080, more=defences),
        ]
    check = "TCP_CHECK {\n }"
    parts.append(service(PROXIED4, MORTAL, 8081, servers=(1,), more=COOKIES, check=check))
    return "".join(parts)


@dataclass
class Site:
    lab: Laboratory
    daemon: Daemon
    mortal: Server
    """The only real server of one service."""
    speakers: list[Speaker]
    counter: SynCounter
    veterans: list[LongLived]
    """Connections that live through all of it."""

    def reload(self, text: str) -> None:
        self.daemon.file.write_text(text)
        mark = self.daemon.reload()
        self.daemon.wait_for("reload_applied", since=mark, timeout=PATIENCE)

    def syns_at_servers(self) -> int:
        """SYNs that all real servers together have seen, but for those to the mortal one."""
        return self.counter.total()

    def forged(self) -> tuple[int, int]:
        """Connections of forged sources: in IPVS, and in conntrack."""
        ipvs = self.read("/proc/thread-self/net/ip_vs_conn").splitlines()[1:]
        tracked = self.read("/proc/thread-self/net/nf_conntrack").splitlines()
        return (
            sum(line.split()[1].upper().replace(":", "") in FORGED for line in ipvs),
            sum(source_of(line) in FORGED for line in tracked),
        )

    def read(self, path: str) -> str:
        """Read a file of ``/proc`` as the director's namespace shows it."""
        return inside(self.lab.director.name, lambda: Path(path).read_text())

    def resets(self) -> int:
        """RSTs that the director itself has sent."""
        names, values = (
            line.split()
            for line in self.read("/proc/thread-self/net/snmp").splitlines()
            if line.startswith("Tcp:")
        )
        return int(values[names.index("OutRsts")])

    def refused_cookies(self) -> int:
        lines = self.read("/proc/thread-self/net/stat/synproxy").splitlines()
        column = lines[0].split().index("cookie_invalid")
        return sum(int(line.split()[column], 16) for line in lines[1:])

    def all_live(self) -> None:
        """Wait until every veteran has had two more answers."""
        before = [one.answers for one in self.veterans]
        wait_until(
            lambda: all(
                one.error or one.answers >= count + 2
                for one, count in zip(self.veterans, before, strict=True)
            )
        )
        assert [one.error for one in self.veterans] == [""] * len(self.veterans)


FORGED: Final = frozenset(
    one.packed.hex().upper() for version in (4, 6) for one in forged_sources(version)
)


def source_of(line: str) -> str:
    """Return the first source address of a line of conntrack's, in hexadecimal."""
    source = next((word[4:] for word in line.split() if word.startswith("src=")), "")
    return ip_address(source).packed.hex().upper() if source else ""


def wait_until(
    condition: Callable[[], bool],
    complaint: Callable[[], str] = lambda: "what is waited for does not happen",
    limit: float = PATIENCE,
) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("synproxy")
    file = folder / "lvskeeper.conf"
    file.write_text(configuration())
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Laboratory(Plan(lips=False, forwarding=False)))
        lab.director.run(["modprobe", "-a", *MODULES], check=False)
        daemon = stack.enter_context(Daemon(lab.director, file, folder / "run"))
        daemon.start(wait=False)
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", 8080, folder / f"nginx{number}")
        mortal = Server(lab.servers[0], "rs1", http=[8081], udp=[53])
        start_servers([mortal])
        speakers = [stack.enter_context(Speaker(space, 2525)) for space in lab.servers]
        lab.router.ip(
            "route add 192.0.2.0/24 via 10.0.0.1", "route add 2001:db8:c::/64 via fd00::1"
        )
        lab.servers[2].ip(
            "route add 192.0.2.0/24 via 10.1.3.1", "route add 2001:db8:c::/64 via fd01:3::1"
        )
        daemon.wait_for("daemon_ready", timeout=180)
        veterans = [
            stack.enter_context(LongLived(lab.client, vip, 80, patience=PATIENCE))
            for vip in (PROXIED4, PROXIED6, NAT4, PLAIN4)
        ]
        counter = SynCounter(lab.servers, (8080, 2525))
        stack.callback(counter.close)
        yield Site(lab, daemon, mortal, speakers, counter, veterans)


@pytest.mark.parametrize(
    ("vip", "count"), [(PROXIED4, LOUD), (PROXIED6, 500), (NAT4, 200), (NAT6, 200)],
    ids=["fullnat4", "fullnat6", "nat4", "nat6"],
)  # fmt: skip
def test_a_flood_reaches_no_server_and_every_request_does(site: Site, vip: str, count: int) -> None:
    before = site.syns_at_servers()
    with Flood(site.lab.client, vip, 80, count=count, rate=RATE) as flood:
        pages = [ask(site.lab.client, vip, 80) for _ in range(10)]
        flood.wait()
    assert flood.sent == count
    assert {page.server for page in pages} == ({"rs3"} if vip in {NAT4, NAT6} else {"rs1", "rs2"})
    assert site.syns_at_servers() - before == len(pages)
    assert site.forged() == (0, 0)


@pytest.mark.parametrize("vip", [PLAIN4, PLAIN6])
def test_without_cookies_a_flood_reaches_the_servers(site: Site, vip: str) -> None:
    count = 200
    before = site.syns_at_servers()
    # Another port than that of the test of strays, which are to belong to no connection
    with Flood(site.lab.client, vip, SMTP, count=count, rate=RATE):
        pass
    wait_until(lambda: site.syns_at_servers() - before >= count)
    assert min(site.forged()) >= count


@pytest.mark.parametrize("vip", [PROXIED4, PROXIED6])
def test_a_bad_cookie_gets_nowhere(site: Site, vip: str) -> None:
    before, refused = site.syns_at_servers(), site.refused_cookies()
    forged = site.forged()
    with Flood(site.lab.client, vip, 80, count=500, rate=RATE, kind=Kind.ACK):
        pass
    wait_until(
        lambda: site.refused_cookies() - refused >= 500,
        lambda: f"{site.refused_cookies() - refused} of 500 bad cookies were counted",
    )
    left = site.forged()
    assert left[0] <= forged[0]
    assert left[1] <= forged[1]
    assert site.syns_at_servers() == before
    site.all_live()


def handshakes(site: Site, vip: str) -> list[tuple[str, int]]:
    """Connect, and return the first packets of it at the director: device and flags of TCP."""

    def listening() -> socket.socket:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))

    with inside(site.lab.director.name, listening) as wire:
        with greeted(site.lab.client, vip, SMTP) as greeting:
            port = greeting.sock.getsockname()[1].to_bytes(2)
        wire.setblocking(False)
        seen = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (device, *_) = wire.recvfrom(2048)
                tcp = frame[54:] if ":" in vip else frame[34:]
                if port in {tcp[:2], tcp[2:4]}:
                    seen.append((device, tcp[13]))
    return seen


@pytest.mark.parametrize("vip", [PROXIED4, PROXIED6, NAT4, NAT6])
def test_a_server_hears_of_a_client_after_its_handshake(site: Site, vip: str) -> None:
    assert handshakes(site, vip)[:6] == [
        (FRONT, SYN), (FRONT, SYN | ACK), (FRONT, ACK), (BACK, SYN), (BACK, SYN | ACK), (BACK, ACK),
    ]  # fmt: skip


@pytest.mark.parametrize("vip", [PROXIED4, PROXIED6, NAT4, NAT6, PLAIN4])
def test_both_sides_have_all_options(site: Site, vip: str) -> None:
    with greeted(site.lab.client, vip, SMTP) as greeting:
        port = greeting.sock.getsockname()[1]
        client = Agreed.of(greeting.sock)
        (server,) = filter(None, [speaker.known(port) for speaker in site.speakers])
    assert client.options == server.options == TIMESTAMPS | SACK | WSCALE
    assert client.sends_scaled == server.receives_scaled, "the client knows the server's scale"
    assert client.receives_scaled == server.sends_scaled


@pytest.mark.parametrize(("vip", "plain"), [(PROXIED4, PLAIN4), (PROXIED6, PLAIN6)])
def test_a_server_that_speaks_first_is_heard_at_once(site: Site, vip: str, plain: str) -> None:
    def fastest(address: str) -> float:
        times = []
        for _ in range(4):
            with greeted(site.lab.client, address, SMTP) as greeting:
                times.append(greeting.seconds)
        return min(times)

    assert fastest(vip) < fastest(plain) + 0.3


def test_a_service_without_servers_refuses_at_once_and_returns(site: Site) -> None:
    assert ask(site.lab.client, PROXIED4, MORTAL).server == "rs1"
    mark = time.monotonic()
    site.mortal.kill()
    site.daemon.wait_for("real_server_down", since=mark, virtual_server=f"tcp {PROXIED4}:{MORTAL}")

    def refused() -> bool:
        try:
            ask(site.lab.client, PROXIED4, MORTAL, timeout=QUICK)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        raise AssertionError("a dead server has answered")

    wait_until(refused, limit=5)
    started = time.monotonic()
    assert refused()
    assert time.monotonic() - started < QUICK
    mark = time.monotonic()
    site.mortal.start()
    site.daemon.wait_for("real_server_up", since=mark, virtual_server=f"tcp {PROXIED4}:{MORTAL}")
    wait_until(lambda: serves(site, PROXIED4, MORTAL), limit=5)


def serves(site: Site, vip: str, port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        return bool(ask(site.lab.client, vip, port).server)
    return False


def test_one_message_tells_the_start_of_a_flood_and_one_its_end(site: Site) -> None:
    ended = site.daemon.wait_for("syn_flood_ended", timeout=PATIENCE)
    (started,) = site.daemon.events("syn_flood_started")
    assert site.daemon.events("syn_flood_ended") == [ended]
    assert started.seen < ended.seen
    assert started.fields["syns"] <= ended.fields["syns"]
    assert 0.9 * LOUD <= ended.fields["syns"] < 2 * LOUD
    assert ended.fields["handshakes"] < 100


def test_connections_outlive_a_reload_that_ends_cookies_and_one_that_brings_them(
    site: Site,
) -> None:
    before = site.syns_at_servers()
    site.reload(configuration(cookies="") + service(PROXIED4, 90, 8080, more=COOKIES))
    assert ask(site.lab.client, PROXIED4, 90).server
    with Flood(site.lab.client, PROXIED4, 80, count=50, rate=RATE):
        pass
    wait_until(lambda: site.syns_at_servers() - before >= 51)
    site.all_live()
    with LongLived(site.lab.client, PROXIED4, 80, patience=PATIENCE) as plain:
        site.reload(configuration())
        site.all_live()
        before, answers = site.syns_at_servers(), plain.answers
        with Flood(site.lab.client, PROXIED4, 80, count=50, rate=RATE):
            assert ask(site.lab.client, PROXIED4, 80).server
        assert site.syns_at_servers() == before + 1
        wait_until(lambda: bool(plain.error) or plain.answers > answers)
        assert plain.alive, "a connection without a cookie outlives the coming of cookies"


def test_connections_outlive_a_foreign_flush(site: Site) -> None:
    mark = time.monotonic()
    site.lab.director.run(["nft", "flush", "ruleset"])
    site.daemon.wait_for("ruleset_repaired", since=mark)
    assert ask(site.lab.client, PROXIED4, 80).server
    site.all_live()


def test_connections_outlive_the_daemon(site: Site) -> None:
    site.daemon.kill()
    site.all_live()
    site.daemon.start()
    assert ask(site.lab.client, PROXIED4, 80).server
    site.all_live()


@pytest.mark.parametrize(("defended", "plain"), [(DEFENDED4, PLAIN4), (DEFENDED6, PLAIN6)])
def test_strays_get_no_answer(site: Site, defended: str, plain: str) -> None:
    resets = []
    for vip in (defended, plain):
        before = site.resets()
        with Flood(site.lab.client, vip, 80, count=100, rate=RATE, kind=Kind.ACK):
            pass
        resets.append(site.resets() - before)
    assert resets == [0, 100]
    assert ask(site.lab.client, defended, 80).server, "connections are served as ever"


def exchange(site: Site, vip: str, port: int, data: bytes) -> bytes:
    """Send a datagram from the client and return the answer."""
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with inside(site.lab.client.name, lambda: socket.socket(family, socket.SOCK_DGRAM)) as sock:
        sock.settimeout(ANSWERED)
        sock.connect((vip, port))
        sock.send(data)
        return sock.recv(65536)


@pytest.mark.parametrize(("defended", "plain"), [(DEFENDED4, PLAIN4), (DEFENDED6, PLAIN6)])
def test_udp_to_an_address_of_tcp_services_gets_no_answer(
    site: Site, defended: str, plain: str
) -> None:
    with pytest.raises(ConnectionRefusedError):
        exchange(site, plain, 9, b"?")
    with pytest.raises(TimeoutError):
        exchange(site, defended, 9, b"?")


@pytest.mark.parametrize(("defended", "plain"), [(NAT4, PLAIN4), (NAT6, PLAIN6)])
def test_fragments_are_dropped_where_asked(site: Site, defended: str, plain: str) -> None:
    whole, parts = b"." * 100, b"." * 3000
    assert exchange(site, plain, 53, parts).endswith(parts)
    assert exchange(site, defended, 53, whole).endswith(whole)
    with pytest.raises(TimeoutError):
        exchange(site, defended, 53, parts)


def test_the_directors_own_ports_are_cut_by_vip_alone(site: Site) -> None:
    with Speaker(site.lab.director, SSH):
        for vip in (DEFENDED4, DEFENDED6):
            with greeted(site.lab.client, vip, SSH):
                pass
        for vip in (NAT4, NAT6):
            with pytest.raises(TimeoutError):
                connect_in(site.lab.client, vip, SSH, ANSWERED)
            assert ask(site.lab.client, vip, 80).server == "rs3"
    site.all_live()
