"""Real connections through our table: what the real server sees, and what a live one survives."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.fullnat_net import (
    CLIENT,
    CLIENT4,
    DIRECTOR,
    LIPS4,
    LIPS6,
    MARK,
    MARKING,
    OTHER_LIP4,
    PORT,
    SERVER,
    SERVER4,
    SERVER6,
    STAND_IN,
    VIP4,
    VIP4_ANY,
    VIP4_MARKED,
    VIP4_OTHER,
    VIP6,
    VPORT,
    Network,
    run,
    translating,
)

from lvskeeper.fullnat.content import differences
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import Ruleset, Source, changes, covering, expected_content, render
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.kernel.nft import Nft
from lvskeeper.kernel.nft_guard import Guard
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

POOLS = (
    Pool.of("web", map(parse_address, (*LIPS4, *LIPS6))),
    Pool.of("other", [parse_address(OTHER_LIP4)]),
)


def key(vip: str, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    address = parse_address(vip)
    return ServiceKey(Family.of(address), protocol, address, VPORT)


RULESET = Ruleset(
    POOLS,
    {
        key(VIP4): Source("web"),
        key(VIP4, Protocol.UDP): Source("web"),
        key(VIP4_OTHER): Source("other"),
        key(VIP6): Source("web"),
        key(VIP6, Protocol.UDP): Source("web"),
        ServiceKey(Family.INET, Protocol.TCP, parse_address(VIP4_ANY)): Source("other"),
        ServiceKey(Family.INET, Protocol.TCP, fwmark=MARK): Source("web"),
    },
)


class Director:
    """The director's namespace as tests act on it, with our table in place."""

    def __init__(self, network: Network) -> None:
        self.network = network
        with network.inside(DIRECTOR):
            self.nft = Nft()
        self.apply(render(RULESET))

    def apply(self, text: str) -> int:
        with self.network.inside(DIRECTOR):
            return asyncio.run(self.nft.apply(text))

    def drift(self, ruleset: Ruleset = RULESET) -> tuple[str, ...]:
        expected = expected_content(ruleset)
        assert expected is not None
        with self.network.inside(DIRECTOR):
            return differences(expected, asyncio.run(self.nft.read()))

    def run(self, command: str) -> str:
        with self.network.inside(DIRECTOR):
            return run(command)


def program_ipvs() -> None:
    Path("/proc/sys/net/ipv4/vs/conntrack").write_text("1", encoding="ascii")
    for option, endpoint, real in (
        ("-t", f"{VIP4}:{VPORT}", f"{SERVER4}:{PORT}"),
        ("-u", f"{VIP4}:{VPORT}", f"{SERVER4}:{PORT}"),
        ("-t", f"{VIP4_OTHER}:{VPORT}", f"{SERVER4}:{PORT}"),
        ("-t", f"[{VIP6}]:{VPORT}", f"[{SERVER6}]:{PORT}"),
        ("-u", f"[{VIP6}]:{VPORT}", f"[{SERVER6}]:{PORT}"),
    ):
        run(f"ipvsadm -A {option} {endpoint} -s rr")
        run(f"ipvsadm -a {option} {endpoint} -r {real} -m")
    run(f"ipvsadm -A -t {VIP4_ANY}:0 -p 60; ipvsadm -a -t {VIP4_ANY}:0 -r {SERVER4}:0 -m")
    run(f"ipvsadm -A -f {MARK}; ipvsadm -a -f {MARK} -r {SERVER4}:0 -m")


@pytest.fixture(scope="module", params=["stand-in", pytest.param("ipvs", marks=pytest.mark.ipvs)])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with translating(request.param, STAND_IN, program_ipvs) as network:
        with network.inside(DIRECTOR):
            run("nft -f -", data=MARKING)
        yield network


@pytest.fixture
def director(network: Network) -> Iterator[Director]:
    director = Director(network)
    yield director
    director.nft.close()


@pytest.mark.parametrize(
    ("vip", "udp", "lips"),
    [
        (VIP4, False, LIPS4),
        (VIP4, True, LIPS4),
        (VIP6, False, LIPS6),
        (VIP6, True, LIPS6),
        (VIP4_OTHER, False, (OTHER_LIP4,)),
    ],
)
def test_server_sees_every_lip_of_the_pool_and_nothing_else(
    director: Director, vip: str, udp: bool, lips: tuple[str, ...]
) -> None:
    seen = [director.network.connect(vip, udp=udp).ask() for _ in range(40)]
    assert set(seen) == set(lips)


@pytest.mark.parametrize(("vip", "lips"), [(VIP4_ANY, (OTHER_LIP4,)), (VIP4_MARKED, LIPS4)])
def test_services_without_port_and_by_mark(
    director: Director, vip: str, lips: tuple[str, ...]
) -> None:
    seen = [director.network.connect(vip, port=PORT).ask() for _ in range(40)]
    assert set(seen) == set(lips)


def test_a_plain_port_of_a_fullnat_address_keeps_the_client(director: Director) -> None:
    plain = replace(key(VIP4_ANY), port=PORT)
    services = covering(RULESET.services, [plain])
    director.apply(changes(RULESET, Ruleset(POOLS, services)))
    with director.network.inside(SERVER):
        run(f"ip route add {CLIENT4} via 10.0.0.1")
    try:
        assert director.network.connect(VIP4_ANY, port=PORT).ask() == CLIENT4
    finally:
        with director.network.inside(SERVER):
            run(f"ip route del {CLIENT4}")


@pytest.mark.parametrize(
    "way", ["routed", pytest.param("ipvs", marks=[pytest.mark.ipvs, pytest.mark.long])]
)
def test_a_server_by_dr_in_a_fullnat_service_sees_the_client(director: Director, way: str) -> None:
    """Of a service with servers of both kinds our map cannot tell which one a packet goes to."""
    network, vip = director.network, "198.51.100.9"
    mixed = replace(
        RULESET, services={**RULESET.services, key(vip, Protocol.UDP): Source("web")}, direct=True
    )
    server = network.name(SERVER)
    with contextlib.ExitStack() as undo:

        def there_and_back(there: str, back: str) -> None:
            director.run(there)
            undo.callback(director.run, back)

        there_and_back(f"ip addr add {vip} dev lo", f"ip addr del {vip} dev lo")
        run(f"ip -n {server} addr add {vip} dev lo")
        undo.callback(run, f"ip -n {server} addr del {vip} dev lo")
        if way == "ipvs":
            director.run("echo 1 >/proc/sys/net/ipv4/vs/conntrack")
            there_and_back(f"ipvsadm -A -u {vip}:{VPORT} -s rr", f"ipvsadm -D -u {vip}:{VPORT}")
            director.run(f"ipvsadm -a -u {vip}:{VPORT} -r {SERVER4}:{VPORT} -g")
        else:
            # As IPVS does it: on to the server, although the address is one of our own.
            there_and_back("ip rule add pref 100 lookup local", "ip rule del pref 100")
            there_and_back("ip rule del pref 0", "ip rule add pref 0 lookup local")
            rule = f"pref 50 iif front to {vip} lookup 100"
            there_and_back(f"ip rule add {rule}", f"ip rule del {rule}")
            there_and_back(
                f"ip route add {vip} via {SERVER4} table 100", f"ip route del {vip} table 100"
            )
        with network.inside(SERVER):
            listening = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        listening.bind((vip, VPORT))
        listening.settimeout(5)
        director.apply(render(mixed))
        assert director.drift(mixed) == ()
        with network.inside(CLIENT):
            client = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.sendto(b"who\n", (vip, VPORT))
        assert listening.recvfrom(100)[1][0] == CLIENT4
        assert network.connect(VIP4).ask() in LIPS4


def test_connections_survive_ten_replacements_on_the_same_lip(director: Director) -> None:
    connections = [director.network.connect(vip) for vip in (VIP4, VIP4_OTHER, VIP6)]
    before = [connection.ask() for connection in connections]
    for _ in range(10):
        director.apply(render(RULESET))
        assert [connection.ask() for connection in connections] == before


def test_the_same_lip_is_chosen_again_after_reload_and_conntrack_loss(director: Director) -> None:
    connections = [director.network.connect(VIP4) for _ in range(8)]
    before = [connection.ask() for connection in connections]
    director.apply(render(RULESET))
    director.run("conntrack -F")
    assert [connection.ask() for connection in connections] == before
    assert len(set(before)) > 1


@pytest.fixture
def flushable(director: Director) -> Iterator[Director]:
    """A director whose other tables come back after a test that flushes all rules."""
    text = director.run("nft list table inet marking; nft list table inet standin || true")
    yield director
    with director.network.inside(DIRECTOR):
        run("nft -f -", data=text)


def test_guard_carries_connections_through_a_foreign_flush(flushable: Director) -> None:
    director = flushable
    connections = [director.network.connect(vip) for vip in (VIP4, VIP6)]
    before = [connection.ask() for connection in connections]
    known = director.nft.generation()
    with director.network.inside(DIRECTOR), Guard() as guard:
        assert guard.held
        director.run("nft flush ruleset")
        assert director.nft.generation() > known
        assert director.drift() == ("the table is missing",)
        assert [connection.ask() for connection in connections] == before
        known = director.apply(render(RULESET))
        assert director.nft.generation() == known
        assert director.drift() == ()
        assert [connection.ask() for connection in connections] == before


@pytest.mark.parametrize("network", [pytest.param("ipvs", marks=pytest.mark.ipvs)], indirect=True)
def test_without_guard_a_flush_stalls_connections_until_the_repair(flushable: Director) -> None:
    live = flushable.network.connect(VIP4)
    before = live.ask()
    flushable.run("nft flush ruleset")
    assert live.stalls()
    flushable.apply(render(RULESET))
    assert live.answer() == before


def test_elements_come_and_go_without_a_new_table(director: Director) -> None:
    moved = Ruleset(POOLS, {**RULESET.services, key(VIP4): Source("other")})
    live = director.network.connect(VIP4)
    before = live.ask()
    text = changes(RULESET, moved)
    assert "table" not in text
    director.apply(text)
    assert director.drift(moved) == ()
    assert director.network.connect(VIP4).ask() == OTHER_LIP4
    assert live.ask() == before
    director.apply(changes(moved, RULESET))
    assert director.drift() == ()
    assert director.network.connect(VIP4).ask() in LIPS4
