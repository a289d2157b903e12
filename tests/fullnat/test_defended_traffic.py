"""SYN cookies, defences and port ranges of our table under real packets."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from support.fullnat_net import (
    CLIENT,
    CLIENT4,
    DIRECTOR,
    LIPS4,
    LIPS6,
    OTHER_LIP4,
    PORT,
    RARELY_ON_IPVS,
    SERVER,
    SERVER4,
    SERVER6,
    VIP4,
    VIP4_ANY,
    VIP4_OTHER,
    VIP6,
    VPORT,
    Network,
    run,
    translating,
)
from support.segments import send_segment
from support.speaker import SACK, TIMESTAMPS, WSCALE, Agreed, Speaker, greeted
from support.waiting import wait_until

from lvskeeper.fullnat.content import differences
from lvskeeper.fullnat.defence import Defences
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import (
    Ruleset,
    Source,
    expected_content,
    render,
    serving_changes,
)
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.kernel.nft import Nft
from lvskeeper.kernel.nft_guard import Guard
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import Address, parse_address

pytestmark = pytest.mark.root

SMTP, RSMTP = 25, 2525
UNSERVED: Final = 81
"""A service without a real server."""
SSH: Final = 2222
DNS: Final = 5353
CLIENT6: Final = "2001:db8:c::10"
QUICK: Final = 0.3
"""Seconds for a banner; the wrong timestamps of a mended handshake cost a whole one."""
PATIENCE: Final = 5.0
REFUSED: Final = 2.5
"""Seconds for a refusal: the kernel spares ICMP errors, and may answer the second SYN only."""
SILENCE: Final = 0.5
"""Seconds without an answer after which a packet counts as dropped."""
RANGE: Final = (5000, 5003)
ACK, RST, FIN = 0x10, 0x04, 0x01

OPENING: Final = "tcp flags & (fin | syn | rst | ack) == syn"
# IPVS's part, which begins a connection with a SYN only; its local hook is what schedules the
# connections that cookies begin.
RULES: Final = f"""
    ip daddr {{ {VIP4}, {VIP4_OTHER}, {VIP4_ANY} }} tcp dport {VPORT} {OPENING} \\
      dnat ip to {SERVER4}:{PORT}
    ip daddr {VIP4} udp dport {VPORT} dnat ip to {SERVER4}:{PORT}
    ip daddr {VIP4} tcp dport {SMTP} {OPENING} dnat ip to {SERVER4}:{RSMTP}
    ip6 daddr {VIP6} tcp dport {VPORT} {OPENING} dnat ip6 to [{SERVER6}]:{PORT}
    ip6 daddr {VIP6} udp dport {VPORT} dnat ip6 to [{SERVER6}]:{PORT}
    ip6 daddr {VIP6} tcp dport {SMTP} {OPENING} dnat ip6 to [{SERVER6}]:{RSMTP}
"""
STAND_IN: Final = f"""
table inet standin {{
  chain pre {{ type nat hook prerouting priority dstnat; {RULES} }}
  chain out {{ type nat hook output priority -100; {RULES} }}
}}
"""
SEEN: Final = f"""
table inet seen {{
  counter syns {{ }}
  chain pre {{ type filter hook prerouting priority raw;
    tcp dport {{ {PORT}, {RSMTP} }} tcp flags & (syn | ack) == syn counter name syns
  }}
}}
"""
HOLD: Final = f"""
table inet hold {{
  counter held {{ }}
  chain out {{ type filter hook output priority 0;
    tcp dport {VPORT} tcp flags & (syn | ack) == ack counter name held drop
  }}
}}
"""
STRAY_PORT: Final = 40_000
"""Client's port of a stray segment without flags; its flags are added."""
# Connections of earlier tests may still be reset, long after these.
ANSWERS: Final = f"""
table inet answers {{
  counter resets {{ }}
  chain pre {{ type filter hook prerouting priority raw;
    tcp flags & rst == rst tcp dport {STRAY_PORT}-{STRAY_PORT + 63} counter name resets
  }}
}}
"""

POOLS: Final = (
    Pool.of("web", map(parse_address, (*LIPS4, *LIPS6))),
    Pool.of("other", [parse_address(OTHER_LIP4)]),
)


def key(vip: str, port: int = VPORT, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    address = parse_address(vip)
    return ServiceKey(Family.of(address), protocol, address, port)


def addresses(*texts: str) -> list[Address]:
    return [parse_address(text) for text in texts]


WEB: Final = Source("web")
SERVICES: Final = {
    key(VIP4): WEB,
    key(VIP4, protocol=Protocol.UDP): WEB,
    key(VIP4, SMTP): WEB,
    key(VIP4, UNSERVED): WEB,
    key(VIP4_OTHER): Source("other"),
    key(VIP4_ANY): Source("other", RANGE),
    key(VIP6): WEB,
    key(VIP6, protocol=Protocol.UDP): WEB,
    key(VIP6, SMTP): WEB,
    key(VIP6, UNSERVED): WEB,
}
FULL4, FULL6 = SynProxy(1460), SynProxy(1440)
COOKIES: Final = Cookies(
    {
        key(VIP4): FULL4,
        key(VIP4, SMTP): FULL4,
        key(VIP4, UNSERVED): FULL4,
        key(VIP6): FULL6,
        key(VIP6, SMTP): FULL6,
        key(VIP6, UNSERVED): FULL6,
    },
    serverless=frozenset({key(VIP4, UNSERVED), key(VIP6, UNSERVED)}),
)
PROXYING: Final = Ruleset(POOLS, SERVICES, COOKIES)


class Director:
    """The director's namespace as tests act on it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        with network.inside(DIRECTOR):
            self.nft = Nft()

    def apply(self, text: str) -> None:
        with self.network.inside(DIRECTOR):
            asyncio.run(self.nft.apply(text))

    def become(self, ruleset: Ruleset) -> None:
        self.apply(render(ruleset))
        expected = expected_content(ruleset)
        assert expected is not None
        with self.network.inside(DIRECTOR):
            assert differences(expected, asyncio.run(self.nft.read())) == ()

    def counter(self, name: str, where: str = DIRECTOR, table: str = "lvskeeper") -> int:
        """Return the packets of a named counter."""
        with self.network.inside(where):
            listing = json.loads(run(f"nft -j list counter inet {table} {name}"))
        (packets,) = (
            item["counter"]["packets"] for item in listing["nftables"] if "counter" in item
        )
        return int(packets)

    def syns(self) -> int:
        """Return how many SYNs the real server has seen."""
        return self.counter("syns", SERVER, "seen")

    def resets(self) -> int:
        """Return how many RSTs the client got for stray segments."""
        return self.counter("resets", CLIENT, "answers")


def program_ipvs() -> None:
    Path("/proc/sys/net/ipv4/vs/conntrack").write_text("1", encoding="ascii")
    for vip, real in ((VIP4, SERVER4), (f"[{VIP6}]", f"[{SERVER6}]")):
        for option, port, target in (("-t", VPORT, PORT), ("-u", VPORT, PORT), ("-t", SMTP, RSMTP)):
            run(f"ipvsadm -A {option} {vip}:{port} -s rr")
            run(f"ipvsadm -a {option} {vip}:{port} -r {real}:{target} -m")
        run(f"ipvsadm -A -t {vip}:{UNSERVED} -s rr")
    for vip in (VIP4_OTHER, VIP4_ANY):
        run(
            f"ipvsadm -A -t {vip}:{VPORT} -s rr; ipvsadm -a -t {vip}:{VPORT} -r {SERVER4}:{PORT} -m"
        )


@pytest.fixture(scope="module", params=["stand-in", pytest.param("ipvs", marks=pytest.mark.ipvs)])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with translating(request.param, STAND_IN, program_ipvs) as network:
        for who, table in ((SERVER, SEEN), (CLIENT, ANSWERS)):
            with network.inside(who):
                run("nft -f -", data=table)
        yield network


@pytest.fixture(scope="module")
def speaker(network: Network) -> Iterator[Speaker]:
    with Speaker(Namespace(network.name(SERVER)), RSMTP) as speaker:
        yield speaker


@pytest.fixture
def director(network: Network) -> Iterator[Director]:
    director = Director(network)
    director.become(PROXYING)
    yield director
    director.nft.close()


@pytest.mark.parametrize(("vip", "lips"), [(VIP4, LIPS4), (VIP6, LIPS6)])
def test_the_server_sees_no_syn_before_the_handshake_of_the_client(
    director: Director, vip: str, lips: tuple[str, ...]
) -> None:
    network = director.network
    before = director.syns()
    with network.inside(CLIENT):
        run("nft -f -", data=HOLD)
    network.connect(vip)
    wait_until(lambda: director.counter("held", CLIENT, "hold") > 0)
    assert director.syns() == before
    with network.inside(CLIENT):
        run("nft delete table inet hold")
    assert network.connect(vip).ask() in lips
    assert director.syns() == before + 1


@RARELY_ON_IPVS
@pytest.mark.parametrize(
    ("promised", "options"),
    [
        (SynProxy(1400), TIMESTAMPS | SACK | WSCALE),
        (SynProxy(1400, 9, sack=False), TIMESTAMPS | WSCALE),
        (SynProxy(1400, timestamp=False), 0),
    ],
)
@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_both_sides_have_the_options_that_were_promised(
    director: Director, speaker: Speaker, vip: str, promised: SynProxy, options: int
) -> None:
    director.become(Ruleset(POOLS, SERVICES, Cookies({key(vip, SMTP): promised})))
    namespace = Namespace(director.network.name(CLIENT))
    with greeted(namespace, vip, SMTP, timeout=PATIENCE) as greeting:
        client = Agreed.of(greeting.sock)
        server = speaker.known(greeting.sock.getsockname()[1])
        mss = greeting.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert server is not None
    assert (client.options, server.options) == (options, options)
    assert client.sends_scaled == (promised.wscale if options & WSCALE else 0)
    assert mss == 1400 - (12 if options & TIMESTAMPS else 0)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_server_that_speaks_first_is_heard_at_once(
    director: Director, speaker: Speaker, vip: str, request: pytest.FixtureRequest
) -> None:
    emulated = "ipvs" in request.node.callspec.id
    namespace = Namespace(director.network.name(CLIENT))
    for _ in range(5):
        with greeted(namespace, vip, SMTP, timeout=PATIENCE) as greeting:
            assert speaker.known(greeting.sock.getsockname()[1]) is not None
            assert greeting.seconds < (QUICK * 3 if emulated else QUICK)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_clients_of_a_service_without_server_are_refused_at_once(
    director: Director, vip: str
) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        director.network.connect(vip, port=UNSERVED)
    assert time.monotonic() - started < REFUSED
    # The other way round a client is let in, with nobody to talk to.
    open_ = replace(COOKIES, serverless=frozenset())
    director.apply(serving_changes(COOKIES, open_))
    assert director.network.connect(vip, port=UNSERVED).stalls()
    director.apply(serving_changes(open_, COOKIES))
    with pytest.raises(ConnectionRefusedError):
        director.network.connect(vip, port=UNSERVED)


def test_live_connections_survive_replacements_and_the_end_of_cookies(director: Director) -> None:
    connections = [director.network.connect(vip) for vip in (VIP4, VIP6)]
    before = [connection.ask() for connection in connections]
    for _ in range(10):
        director.become(PROXYING)
        assert [connection.ask() for connection in connections] == before
    # No service is behind cookies any more, only the hooks stay.
    director.become(Ruleset(POOLS, SERVICES, Cookies(hooked=True)))
    assert [connection.ask() for connection in connections] == before
    director.become(PROXYING)
    assert [connection.ask() for connection in connections] == before


def test_guard_carries_proxied_connections_through_a_foreign_flush(director: Director) -> None:
    network = director.network
    connections = [network.connect(vip) for vip in (VIP4, VIP6)]
    before = [connection.ask() for connection in connections]
    with network.inside(DIRECTOR):
        others = run("nft list table inet standin || true")
        with Guard() as guard:
            guard.hold(cookies=True)
            run("nft flush ruleset")
            assert [connection.ask() for connection in connections] == before
            run("nft -f -", data=others)
            director.apply(render(PROXYING))
            assert [connection.ask() for connection in connections] == before


@RARELY_ON_IPVS
def test_ports_on_the_lip_are_of_the_range_of_the_service(director: Director) -> None:
    connections = [director.network.connect(VIP4_ANY) for _ in range(4)]
    assert {connection.peer() for connection in connections} == {
        (OTHER_LIP4, port) for port in range(RANGE[0], RANGE[1] + 1)
    }
    address, port = director.network.connect(VIP4_OTHER).peer()
    assert address == OTHER_LIP4
    assert port not in range(RANGE[0], RANGE[1] + 1)


def send_stray(network: Network, vip: str, flags: int, port: int = VPORT) -> None:
    """Send a TCP segment that belongs to no connection, from the client."""
    ours = CLIENT6 if ":" in vip else CLIENT4
    with network.inside(CLIENT):
        send_segment((ours, STRAY_PORT + flags), (vip, port), flags)


PROXIED: Final = (VIP4, VIP6)
STRAYS: Final = Defences.of(SERVICES, strays=[key(VIP4), key(VIP6)])


@RARELY_ON_IPVS
@pytest.mark.parametrize("cookies", [COOKIES, Cookies()])
@pytest.mark.parametrize("vip", PROXIED)
def test_stray_segments_to_a_defended_service_are_dropped_unanswered(
    director: Director, vip: str, cookies: Cookies
) -> None:
    director.become(Ruleset(POOLS, SERVICES, cookies, STRAYS))
    live = director.network.connect(vip)
    seen = live.ask()
    before, syns = director.resets(), director.syns()
    for flags in (ACK, RST, FIN, ACK | FIN, ACK | RST, 0):
        send_stray(director.network, vip, flags)
    # The check of the cookie takes what has an ACK. Of IPv6 the kernel's synproxy drops all whose
    # checksum no device vouches for (a veth does so on older kernels): it computes that of IPv4.
    dropped = {3} if cookies.used else {6}
    if cookies.used and vip == VIP6:
        dropped.add(0)
    wait_until(lambda: director.counter("dropped_stray") in dropped)
    assert live.ask() == seen
    assert director.network.connect(vip).ask() in (*LIPS4, *LIPS6)
    assert director.resets() == before
    assert director.syns() == syns + 1
    # Other ports and addresses answer as ever.
    for other, port in ((vip, SSH), (VIP4_OTHER, VPORT)):
        send_stray(director.network, other, ACK, port)
    wait_until(lambda: director.resets() == before + 2)
    assert director.counter("dropped_stray") in dropped


@RARELY_ON_IPVS
def test_stray_segments_are_answered_where_nobody_asked(director: Director) -> None:
    before = director.resets()
    director.become(Ruleset(POOLS, SERVICES))
    for vip in PROXIED:
        send_stray(director.network, vip, ACK)
    wait_until(lambda: director.resets() == before + len(PROXIED))


@contextlib.contextmanager
def listening(network: Network) -> Iterator[None]:
    """Have a server of TCP (accepting only) and one of UDP (echoing) on the director itself."""
    with network.inside(DIRECTOR):
        tcp = socket.create_server(("::", SSH), family=socket.AF_INET6, dualstack_ipv6=True)
        udp = [
            socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)
        ]
        udp[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Of each VIP its own socket would be needed to answer from it; the kernel picks it for lo.
        for endpoint, address in zip(udp, (VIP4_OTHER, VIP6), strict=True):
            endpoint.bind((address, DNS))

    def echo(endpoint: socket.socket) -> None:
        while data := endpoint.recvfrom(100):
            if data[0] == b"end":
                return
            endpoint.sendto(*data)

    threads = [threading.Thread(target=echo, args=(endpoint,), daemon=True) for endpoint in udp]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for endpoint, address, thread in zip(udp, (VIP4_OTHER, VIP6), threads, strict=True):
            with network.inside(DIRECTOR), socket.socket(endpoint.family, socket.SOCK_DGRAM) as end:
                run("nft delete table inet lvskeeper || true")
                end.sendto(b"end", (address, DNS))
            thread.join(PATIENCE)
            endpoint.close()
        tcp.close()


def datagram(network: Network, vip: str, port: int, size: int = 3) -> bool:
    """Return whether a datagram from the client is answered."""
    with network.inside(CLIENT):
        endpoint = socket.socket(
            socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM
        )
    with endpoint:
        endpoint.settimeout(SILENCE)
        endpoint.sendto(b"x" * size, (vip, port))
        try:
            return bool(endpoint.recv(4000))
        except TimeoutError:
            return False


@RARELY_ON_IPVS
def test_other_ports_of_a_closed_address_are_silent_and_the_director_still_calls_out(
    director: Director,
) -> None:
    network = director.network
    closed = Defences.of(SERVICES, closed=addresses(VIP4_OTHER, VIP6))
    with listening(network):
        for vip in (VIP4, VIP4_OTHER, VIP6):
            network.connect(vip, port=SSH)
        director.become(Ruleset(POOLS, SERVICES, COOKIES, closed))
        network.connect(VIP4, port=SSH)
        for vip in (VIP4_OTHER, VIP6):
            with network.inside(CLIENT):
                family = socket.AF_INET6 if ":" in vip else socket.AF_INET
                attempt = socket.socket(family, socket.SOCK_STREAM)
            with attempt:
                attempt.settimeout(SILENCE)
                with pytest.raises(TimeoutError):
                    attempt.connect((vip, SSH))
            assert network.connect(vip).ask() in (*LIPS6, OTHER_LIP4)
        assert director.counter("dropped_unserved") >= 2
        with network.inside(SERVER):
            run(f"ip route add {VIP4_OTHER} via 10.0.0.1")
        with network.inside(DIRECTOR):
            own = socket.create_connection((SERVER4, PORT), PATIENCE, (VIP4_OTHER, 0))
        with own:
            own.sendall(b"who\n")
            assert own.recv(100).split()[0].decode() == VIP4_OTHER
        with network.inside(SERVER):
            run(f"ip route del {VIP4_OTHER}")


@RARELY_ON_IPVS
def test_udp_is_dropped_for_addresses_of_tcp_services_only(director: Director) -> None:
    network = director.network
    services = {
        item: source
        for item, source in SERVICES.items()
        if item != key(VIP6, protocol=Protocol.UDP)
    }
    silent = Defences.of(services, udp=addresses(VIP4, VIP4_OTHER, VIP6))
    with listening(network):
        assert datagram(network, VIP4_OTHER, DNS)
        assert datagram(network, VIP6, DNS)
        director.become(Ruleset(POOLS, services, defences=silent))
        assert not datagram(network, VIP4_OTHER, DNS)
        assert not datagram(network, VIP6, DNS)
        assert director.counter("dropped_udp") == 2
        assert datagram(network, VIP4, VPORT)
        # A query of the director's own is answered.
        with network.inside(SERVER):
            run(f"ip route add {VIP4_OTHER} via 10.0.0.1")
        with network.inside(DIRECTOR):
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            own.bind((VIP4_OTHER, 0))
        with own:
            own.settimeout(PATIENCE)
            own.sendto(b"who\n", (SERVER4, PORT))
            assert own.recv(100).split()[0].decode() == VIP4_OTHER
        with network.inside(SERVER):
            run(f"ip route del {VIP4_OTHER}")


@RARELY_ON_IPVS
@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_fragments_to_a_defended_address_are_dropped(director: Director, vip: str) -> None:
    network = director.network
    assert datagram(network, vip, VPORT, size=3000)
    other = VIP6 if vip == VIP4 else VIP4
    director.become(
        Ruleset(POOLS, SERVICES, defences=Defences.of(SERVICES, fragments=addresses(vip)))
    )
    assert not datagram(network, vip, VPORT, size=3000)
    assert director.counter("dropped_fragment") == 3
    assert datagram(network, vip, VPORT)
    assert datagram(network, other, VPORT, size=3000)
