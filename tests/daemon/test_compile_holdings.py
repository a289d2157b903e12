"""From entries to what is held: the defaults are keepalived's, the numbers are the kernel's."""

import pytest

from lvskeeper.config.holding_entries import address_entry, route_entry, rule_entry
from lvskeeper.config.holding_model import AddressEntry, RouteEntry, RuleEntry
from lvskeeper.daemon.compile_holdings import FIRST_PRIORITY, Priorities, held_address, route, rule
from lvskeeper.units import parse_address
from lvskeeper.vrrp.holdings import HeldAddress, Route, Rule


def address_of(line: str) -> HeldAddress:
    entry = AddressEntry.model_validate(address_entry(line.split()))
    return held_address(entry, device="eth0")


def route_of(line: str) -> Route:
    return route(RouteEntry.model_validate(route_entry(line.split())))


def rule_of(line: str, priorities: Priorities | None = None) -> Rule:
    entry = RuleEntry.model_validate(rule_entry(line.split()))
    return rule(entry, Priorities() if priorities is None else priorities)


def test_an_address_is_held_on_the_device_of_its_instance_unless_it_names_one() -> None:
    address = parse_address("10.0.0.1")
    assert address_of("10.0.0.1") == HeldAddress(address, 32, "eth0")
    assert address_of("10.0.0.1/24 dev eth1").name == (address, 24, "eth1")


def test_an_address_has_all_that_was_said_of_it() -> None:
    line = "10.0.0.1/24 dev eth1 scope link brd + label eth1:1 preferred_lft 60 no_track"
    assert address_of(line) == HeldAddress(
        parse_address("10.0.0.1"),
        24,
        "eth1",
        scope=253,
        broadcast=parse_address("10.0.0.255"),
        label="eth1:1",
        preferred=60,
        watched=False,
    )


def test_a_peer_brings_its_prefix_length() -> None:
    held = address_of("10.0.0.1 peer 10.0.0.2/24")
    assert (held.peer, held.prefix) == (parse_address("10.0.0.2"), 24)


@pytest.mark.parametrize(
    ("line", "preferred"),
    [
        ("fd00::1", 0),
        ("fd00::1/128", 0),
        ("fd00::1/64", None),
        ("10.0.0.1", None),
        ("fd00::1 preferred_lft forever", None),
        ("fd00::1 preferred_lft 9", 9),
        ("fd00::1/64 preferred_lft 0", 0),
        ("10.0.0.1 preferred_lft 0", 0),
    ],
)
def test_only_a_single_ipv6_address_is_deprecated_unasked(line: str, preferred: int | None) -> None:
    assert address_of(line).preferred == preferred


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("", 0),
        ("home", 0x10),
        ("mngtmpaddr", 0x100),
        ("noprefixroute", 0x200),
        ("autojoin", 0x400),
        ("home autojoin", 0x410),
    ],
)
def test_flags_are_the_kernels(words: str, flags: int) -> None:
    assert address_of(f"fd00::1/64 {words}").flags == flags


def test_a_route_is_ours_in_the_main_table_and_its_hop_decides_the_scope() -> None:
    expected = Route(parse_address("10.1.0.0"), 16, device="eth1")
    assert route_of("10.1.0.0/16 dev eth1") == expected
    assert (expected.protocol, expected.table, expected.scope) == (18, 254, None)


def test_a_route_has_all_that_was_said_of_it() -> None:
    line = """src 10.0.0.9 to 10.1.0.0/16 via 10.0.0.1 dev eth1 table 5 metric 6 scope link
    protocol bird tos 0x20 onlink mtu 1400 advmss 1360 no_track"""
    assert route_of(line) == Route(
        parse_address("10.1.0.0"),
        16,
        gateway=parse_address("10.0.0.1"),
        device="eth1",
        source=parse_address("10.0.0.9"),
        table=5,
        metric=6,
        scope=253,
        protocol=12,
        tos=32,
        onlink=True,
        mtu=1400,
        advmss=1360,
        watched=False,
    )


def test_a_watched_route_is_marked_as_ours_whatever_it_says() -> None:
    assert route_of("10.1.0.0/16 dev a protocol static").protocol == 18
    assert route_of("10.1.0.0/16 dev a protocol static no_track").protocol == 4


@pytest.mark.parametrize(
    ("word", "kind"),
    [("blackhole", 6), ("unreachable", 7), ("prohibit", 8), ("throw", 9)],
)
def test_routes_that_refuse_have_the_kernels_numbers(word: str, kind: int) -> None:
    assert route_of(f"{word} 10.1.0.0/16") == Route(parse_address("10.1.0.0"), 16, kind=kind)


@pytest.mark.parametrize(
    ("word", "kind"), [("unicast", 1), ("local", 2), ("broadcast", 3), ("multicast", 5)]
)
def test_routes_that_lead_somewhere_have_the_kernels_numbers(word: str, kind: int) -> None:
    assert route_of(f"{word} 10.1.0.0/16 dev a").kind == kind


def test_a_rule_has_all_that_was_said_of_it() -> None:
    line = """from 10.1.0.0/16 to 10.2.0.0/24 iif a oif b fwmark 0x10/0xff tos 0x10 table 300
    preference 39 no_track"""
    assert rule_of(line) == Rule(
        4,
        39,
        source=parse_address("10.1.0.0"),
        source_prefix=16,
        destination=parse_address("10.2.0.0"),
        destination_prefix=24,
        iif="a",
        oif="b",
        fwmark=16,
        fwmask=255,
        tos=16,
        table=300,
        watched=False,
    )


@pytest.mark.parametrize(
    ("word", "action"), [("blackhole", 6), ("unreachable", 7), ("prohibit", 8)]
)
def test_rules_that_refuse_have_the_kernels_numbers(word: str, action: int) -> None:
    assert rule_of(f"from all {word} pref 1") == Rule(4, 1, action=action)


def test_rules_without_a_priority_count_down_in_each_family() -> None:
    priorities = Priorities()
    lines = ["from 10.0.0.1", "from fd00::1", "from 10.0.0.2 pref 7", "from 10.0.0.3", "to fd00::2"]
    found = [rule_of(f"{line} table 5", priorities).priority for line in lines]
    first = FIRST_PRIORITY
    assert found == [first, first, 7, first - 1, first - 1]
