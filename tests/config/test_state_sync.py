"""``state_sync``: what it compiles to, and when it fits."""

from typing import Final

import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.codes import Code
from lvskeeper.config.load import Loaded, load
from lvskeeper.config.state_sync_keywords import SOCKET
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.daemon.roles import StateSyncSpec
from lvskeeper.units import parse_address

LINK: Final = "interface eth2\naddress 10.255.0.1\n"
PEER: Final = "peer 10.255.0.2\n"
OURS, THEIRS = parse_address("10.255.0.1"), parse_address("10.255.0.2")


def block(body: str) -> str:
    return f"state_sync {{\n{body}\n}}\n"


def instance(name: str, *excluded: str) -> str:
    number = ord(name)
    moved = "".join(f"{address}/32 dev lo\n" for address in excluded)
    return (
        f"vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {number}\n"
        f"virtual_ipaddress {{\n192.0.2.{number}/24\n}}\n"
        f"virtual_ipaddress_excluded {{\n{moved}}}\n}}\n"
    )


SERVED: Final = (
    "local_address_group lips {\n10.9.0.10-11\n}\n"
    "virtual_server 192.0.2.65 80 {\nprotocol TCP\nlb_algo rr\nlb_kind FNAT\n"
    "laddr_group_name lips\nreal_server 10.1.1.1 80 {\nTCP_CHECK {\n}\n}\n}\n"
)


def read(text: str, name: str = "a.conf") -> Loaded:
    return load(name, MemoryFiles({name: text}), allow_empty=True)


def compiled(text: str, name: str = "a.conf") -> StateSyncSpec | None:
    loaded = read(text, name)
    assert loaded.config is not None, loaded.diagnostics
    return compile_director(loaded.config).state_sync


def told(text: str) -> list[tuple[Code, str]]:
    return [(one.code, one.span.text) for one in read(text).diagnostics]


def test_nothing_is_synced_unless_asked() -> None:
    assert compiled(instance("A")) is None


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        (LINK + PEER, StateSyncSpec("eth2", OURS, THEIRS)),
        (LINK + PEER + "port 3999", StateSyncSpec("eth2", OURS, THEIRS, port=3999)),
        (
            LINK + "multicast 225.0.0.50",
            StateSyncSpec("eth2", OURS, group=parse_address("225.0.0.50")),
        ),
        (LINK + PEER + "hold 0", StateSyncSpec("eth2", OURS, THEIRS, hold=0.0)),
        ("external\nhold 2", StateSyncSpec(external=True, socket=SOCKET, hold=2.0)),
        ("external", StateSyncSpec(external=True, socket=SOCKET)),
        ("external\nsocket /run/x", StateSyncSpec(external=True, socket="/run/x")),
    ],
)
def test_the_director_gets_what_the_block_says(body: str, spec: StateSyncSpec) -> None:
    assert told(block(body)) == []
    assert compiled(block(body)) == spec


def test_yaml_says_the_same() -> None:
    text = "state_sync:\n  interface: eth2\n  address: 10.255.0.1\n  peer: 10.255.0.2\n"
    assert compiled(text, "a.yaml") == StateSyncSpec("eth2", OURS, THEIRS)


@pytest.mark.parametrize(
    ("body", "followed"), [(LINK + PEER, "A"), (LINK + PEER + "follows B", "B")]
)
def test_the_router_tells_of_the_instance_that_is_followed(body: str, followed: str) -> None:
    loaded = read(block(body) + instance("A") + instance("B"))
    assert loaded.config is not None
    router = compile_router(loaded.config)
    assert router is not None
    assert router.sync_instance == followed


@pytest.mark.parametrize(
    ("body", "seconds"),
    [("", 0.0), (block(LINK + PEER), 3.0), (block(LINK + PEER + "hold 9"), 9.0)],
)
def test_the_router_holds_packets_for_as_long_as_the_block_says(body: str, seconds: float) -> None:
    loaded = read(body + instance("A"))
    assert loaded.config is not None
    router = compile_router(loaded.config)
    assert router is not None
    assert router.hold == seconds


def test_an_instance_that_the_ipvs_daemon_follows_comes_first() -> None:
    text = "global_defs {\nlvs_sync_daemon eth2 B\n}\n" + block(LINK + PEER)
    loaded = read(text + instance("A") + instance("B"))
    assert loaded.config is not None
    router = compile_router(loaded.config)
    assert router is not None
    assert router.sync_instance == "B"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ("", "state_sync"),
        (LINK, "state_sync"),
        ("interface eth2\n" + PEER, "state_sync"),
        (LINK + "peer 10.255.0.1", "10.255.0.1"),
        (LINK + "peer fd99::2", "fd99::2"),
        (LINK + "multicast ff05::50", "ff05::50"),
        (LINK + PEER + "multicast 225.0.0.50", "multicast"),
        (LINK + PEER + "socket /run/x", "socket"),
        ("external\ninterface eth2", "interface"),
    ],
)
def test_what_does_not_fit_is_told_at_its_place(body: str, place: str) -> None:
    assert told(block(body)) == [(Code.STATE_SYNC, place)]


def test_a_link_that_carries_vips_is_told() -> None:
    body = "interface eth0\naddress 10.255.0.1\n" + PEER
    assert told(block(body) + instance("A")) == [(Code.STATE_SYNC_LOSES, "eth0")]


def test_a_pool_that_stays_with_its_node_is_told() -> None:
    text = block(LINK + PEER) + instance("A", "10.9.0.10") + SERVED
    assert told(text) == [(Code.STATE_SYNC_LOSES, "lips")]


def test_a_pool_that_moves_with_the_vips_is_fine() -> None:
    text = block(LINK + PEER) + instance("A", "10.9.0.10", "10.9.0.11") + SERVED
    assert told(text) == []
