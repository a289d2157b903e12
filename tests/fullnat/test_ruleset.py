"""Texts of the ruleset: golden files, and what holds for all of them."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.fullnat.content import Content, differences, parse_listing, slot_of
from lvskeeper.fullnat.defence import Defences
from lvskeeper.fullnat.pools import PORTS_PER_ADDRESS, Pool
from lvskeeper.fullnat.ruleset import (
    KEEP,
    Ruleset,
    Source,
    changes,
    covering,
    expected_content,
    guard_cookies_text,
    guard_text,
    render,
)
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import Address, parse_address

GOLDEN = Path(__file__).parent.parent / "golden" / "fullnat"

WEB = Pool.of("web", map(parse_address, ("10.0.0.11", "10.0.0.10", "fd00::10", "fd00::11")))
ONE = Pool.of("büro nord", [parse_address("10.0.0.20")])


def tcp(address: str, port: int) -> ServiceKey:
    packed = parse_address(address)
    return ServiceKey(Family.of(packed), Protocol.TCP, packed, port)


def udp(address: str, port: int) -> ServiceKey:
    packed = parse_address(address)
    return ServiceKey(Family.of(packed), Protocol.UDP, packed, port)


FULL = Ruleset(
    (WEB, ONE),
    {
        tcp("198.51.100.1", 80): Source("web"),
        udp("198.51.100.1", 53): Source("büro nord"),
        tcp("198.51.100.2", 0): Source("büro nord"),
        tcp("2001:db8:f::1", 443): Source("web"),
        udp("2001:db8:f::2", 0): Source("web"),
        ServiceKey(Family.INET, Protocol.TCP, fwmark=7): Source("web"),
        ServiceKey(Family.INET6, Protocol.TCP, fwmark=7): Source("web"),
    },
)
MOVED = Ruleset(
    FULL.pools,
    {
        **{key: pool for key, pool in FULL.services.items() if not key.fwmark},
        tcp("198.51.100.1", 80): Source("büro nord"),
        tcp("198.51.100.9", 8080): Source("web"),
    },
)


RANGED = Ruleset(
    FULL.pools,
    {
        tcp("198.51.100.1", 80): Source("web", (5000, 65535)),
        tcp("198.51.100.2", 80): Source("büro nord", (5000, 5999)),
        tcp("2001:db8:f::1", 80): Source("web", (5000, 65535)),
    },
)
LONG = SynProxy(1460)
SHORT = SynProxy(1200, 9, timestamp=False, sack=False)
COOKIES = Cookies(
    {
        tcp("198.51.100.1", 80): LONG,
        tcp("198.51.100.1", 443): SHORT,
        tcp("198.51.100.2", 0): LONG,
        tcp("2001:db8:f::1", 80): SynProxy(1440, sack=False),
        tcp("2001:db8:f::2", 0): SynProxy(1440),
    },
    direct=frozenset({tcp("198.51.100.2", 22)}),
)
ADDRESS4, ADDRESS6 = parse_address("198.51.100.1"), parse_address("2001:db8:f::1")
DEFENCES = Defences.of(
    [*COOKIES.proxied, tcp("198.51.100.2", 22), ServiceKey(Family.INET, Protocol.TCP, fwmark=7)],
    strays=[tcp("198.51.100.1", 80), tcp("2001:db8:f::2", 0), tcp("198.51.100.2", 0)],
    closed=[ADDRESS4, ADDRESS6],
    udp=[ADDRESS4, ADDRESS6],
    fragments=[ADDRESS4, ADDRESS6],
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("full", render(FULL)),
        ("empty", render(Ruleset((WEB,)))),
        ("changes", changes(FULL, MOVED)),
        ("ranged", render(RANGED)),
        ("cookies", render(Ruleset(cookies=COOKIES))),
        ("hooks", render(Ruleset(cookies=Cookies(hooked=True, strip=False)))),
        ("defences", render(Ruleset(defences=DEFENCES))),
        ("guard", guard_text() + guard_cookies_text()),
    ],
)
def test_golden(name: str, text: str) -> None:
    assert text == (GOLDEN / f"{name}.nft").read_text(encoding="utf-8")


addresses = st.one_of(
    st.binary(min_size=4, max_size=4).map(Address), st.binary(min_size=16, max_size=16).map(Address)
)
marks = st.builds(
    ServiceKey,
    st.sampled_from(Family),
    st.just(Protocol.TCP),
    fwmark=st.integers(1, 2**32 - 1),
)
endpoints = st.builds(
    lambda address, protocol, port: ServiceKey(Family.of(address), protocol, address, port),
    addresses,
    st.sampled_from(Protocol),
    st.integers(0, 65535),
)
services = st.dictionaries(
    st.one_of(marks, endpoints), st.sampled_from([Source("web"), Source("second")])
)
SECOND = Pool.of("second", map(parse_address, ("10.0.0.30", "fd00::30")))


def rule_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if "vmap" in line or "snat" in line]


@given(services.filter(bool))
def test_rules_depend_on_pools_alone(chosen: dict[ServiceKey, Source]) -> None:
    one = Ruleset((WEB, SECOND), {tcp("192.0.2.1", 80): Source("web")})
    text = render(Ruleset((WEB, SECOND), chosen))
    assert rule_lines(text) == rule_lines(render(one))
    assert text.count(": goto ") == len(chosen)


@given(services, st.randoms(use_true_random=False))
def test_text_does_not_depend_on_the_order_of_the_input(
    chosen: dict[ServiceKey, Source], random: Random
) -> None:
    items = list(chosen.items())
    random.shuffle(items)
    turned = Pool(WEB.name, WEB.v4[::-1] * 2, WEB.v6[::-1])
    assert render(Ruleset((SECOND, turned), dict(items))) == render(Ruleset((WEB, SECOND), chosen))


@given(services.filter(bool), services.filter(bool))
def test_changes_name_exactly_the_elements_that_differ(
    old: dict[ServiceKey, Source], new: dict[ServiceKey, Source]
) -> None:
    text = changes(Ruleset((WEB, SECOND), old), Ruleset((WEB, SECOND), new))
    come = sum(1 for key, pool in new.items() if old.get(key) != pool)
    gone = sum(1 for key, pool in old.items() if new.get(key) != pool)
    assert text.count(": goto ") == come
    assert text.count("\t") == come + gone
    assert text.find("delete") <= max(text.find("add"), 0)


@given(services.filter(bool), services.filter(bool))
def test_differences_name_exactly_the_services_that_differ(
    old: dict[ServiceKey, Source], new: dict[ServiceKey, Source]
) -> None:
    actual = expected_content(Ruleset((WEB, SECOND), old))
    expected = expected_content(Ruleset((WEB, SECOND), new))
    assert actual is not None
    assert expected is not None
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    found = differences(expected, actual)
    assert len(found) == len(changed)
    assert all(line.startswith(f"{key} ") for key, line in zip(changed, found, strict=True))


def test_pool_change_replaces_the_table() -> None:
    wider = Pool.of("web", (*WEB.v4, parse_address("10.0.0.12"), *WEB.v6))
    text = changes(FULL, Ruleset((wider, ONE), FULL.services))
    assert text.startswith("add table inet lvskeeper\ndelete table inet lvskeeper\ntable inet")


def test_changes_from_and_to_nothing() -> None:
    assert changes(FULL, FULL) == ""
    assert changes(Ruleset(), Ruleset((WEB,))) == ""
    assert changes(Ruleset(), FULL) == render(FULL)
    assert changes(FULL, Ruleset()) == render(Ruleset())


@pytest.mark.parametrize(
    ("pools", "chosen", "message"),
    [
        ((WEB, WEB), {}, "two pools share a name"),
        (
            (WEB,),
            {tcp("198.51.100.1", 80): Source("no")},
            "tcp 198.51.100.1:80: there is no pool no",
        ),
        ((ONE,), {tcp("2001:db8::1", 80): Source("büro nord")}, "has no INET6 address"),
        ((ONE,), {tcp("192.0.2.1", 80): Source("büro nord", (9, 8))}, "9-8 is no port range"),
    ],
)
def test_impossible_rulesets_are_refused(
    pools: tuple[Pool, ...], chosen: dict[ServiceKey, Source], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Ruleset(pools, chosen)


def test_pool_sorts_counts_and_checks() -> None:
    pool = Pool.of("p", map(parse_address, ("10.0.0.9", "fd00::1", "10.0.0.10", "10.0.0.9")))
    assert pool.v4 == (parse_address("10.0.0.9"), parse_address("10.0.0.10"))
    assert pool.capacity(Family.INET) == 2 * PORTS_PER_ADDRESS
    assert pool.capacity(Family.INET6) == 64512
    with pytest.raises(ValueError, match="v4 holds an address of another family"):
        Pool("p", pool.v6, ())
    with pytest.raises(ValueError, match="v6 holds an address of another family"):
        Pool("p", (), pool.v4)


@pytest.mark.parametrize("name", ["web", "a-b_c", "web lips", "büro", "", "x" * 500, "a.b", "é"])
def test_chain_names_are_short_identifiers(name: str) -> None:
    chain = Source(name).chain(Family.INET)
    assert chain.isascii()
    assert len(chain) < 128
    assert not set(chain) & set(' "{};\n')


def test_chain_names_tell_pools_apart() -> None:
    names = ["a b", "a.b", "a_b", "a/b", "x" * 500, "x" * 501, "a_b.5000-6000"]
    sources = [Source(name, ports) for name in names for ports in (None, (5000, 6000))]
    assert len({source.chain(Family.INET) for source in sources}) == len(sources)


def test_differences_name_each_kind_of_drift() -> None:
    expected = expected_content(FULL)
    assert expected is not None
    key = tcp("198.51.100.1", 80)
    chains = {name: rules for name, rules in expected.chains.items() if name != "lip6.web"}
    actual = Content(
        "other",
        expected.containers - {"any6"},
        {**chains, "post": expected.chains["post"][:-1], "evil": ()},
        {**expected.elements, slot_of(key): "lip4.x", slot_of(tcp("1.2.3.4", 5)): "lip4.web"},
        ("port4 [1]",),
    )
    assert differences(expected, actual) == (
        "the table is of another version or pool set",
        "map any6 is missing",
        "chain lip6.web is missing",
        "the rules of chain post were changed",
        "chain evil is not ours",
        "tcp 1.2.3.4:5 is not wanted",
        "tcp 198.51.100.1:80 goes to lip4.x, not to lip4.web",
        "element port4 [1] is not ours",
    )
    assert differences(expected, None) == ("the table is missing",)
    assert differences(expected, Content(expected.digest, expected.containers, expected.chains))[
        0
    ] == ("fwmark 7 is missing")


@pytest.mark.parametrize(
    "text", ["{}", '{"nftables": 1}', "[]", "no", '{"nftables": [{"rule": 1}]']
)
def test_a_strange_listing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"unexpected listing|Expecting|delimiter"):
        parse_listing(text)


def test_slots_of_services() -> None:
    assert [slot_of(key).container for key in sorted(FULL.services)] == [
        "mark4", "port4", "any4", "port4", "mark6", "port6", "any6",
    ]  # fmt: skip


def test_services_that_ipvs_prefers_keep_their_source() -> None:
    mark = ServiceKey(Family.INET, Protocol.TCP, fwmark=9)
    every_port, one_port = tcp("198.51.100.2", 0), tcp("198.51.100.2", 22)
    fullnat = {every_port: Source("web"), tcp("198.51.100.1", 80): Source("web")}
    others = (mark, one_port, udp("198.51.100.2", 22), tcp("198.51.100.1", 81), udp("1.2.3.4", 0))
    chosen = covering(fullnat, others)
    assert chosen == {**fullnat, mark: KEEP, one_port: KEEP}
    text = render(Ruleset((WEB,), chosen))
    assert "\ttcp . 198.51.100.2 . 22 : accept,\n" in text
    assert "\t9 : accept,\n" in text
    assert covering({}, others) == {}
