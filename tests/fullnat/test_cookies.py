"""SYN cookies and defences as values: which elements there are, and what turns them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.fullnat.content import differences
from lvskeeper.fullnat.defence import STRAY, UNSERVED, Defences
from lvskeeper.fullnat.parts import CONTAINERS, MEMBER, PLAIN, Slot
from lvskeeper.fullnat.ruleset import (
    Ruleset,
    adopting,
    changes,
    expected_content,
    render,
    serving_changes,
)
from lvskeeper.fullnat.synproxy import Cookies, SynProxy, exempt
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import parse_address


def key(address: str, port: int, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    packed = parse_address(address)
    return ServiceKey(Family.of(packed), protocol, packed, port)


VIP = parse_address("198.51.100.1")
WEB, TLS, EVERY = key("198.51.100.1", 80), key("198.51.100.1", 443), key("198.51.100.1", 0)
WEB6 = key("2001:db8:f::1", 80)
DNS = key("198.51.100.1", 53, Protocol.UDP)
MARK = ServiceKey(Family.INET, Protocol.TCP, fwmark=7)
OPTIONS = SynProxy(1460)

keys = st.builds(
    key,
    st.sampled_from(["198.51.100.1", "198.51.100.2", "2001:db8:f::1"]),
    st.sampled_from([0, 22, 80, 443]),
)
options = st.builds(
    SynProxy, st.integers(536, 65535), st.integers(0, 14), st.booleans(), st.booleans()
)


@st.composite
def cookies(draw: st.DrawFn) -> Cookies:
    proxied = draw(st.dictionaries(keys, options, max_size=6))
    others = draw(st.sets(keys)) - proxied.keys()
    serverless = draw(st.sets(st.sampled_from(sorted(proxied)))) if proxied else set()
    return Cookies(proxied, exempt(proxied, others), frozenset(serverless), hooked=True)


@given(cookies())
def test_a_service_is_in_the_map_and_the_set_or_in_neither(chosen: Cookies) -> None:
    elements = chosen.elements()
    mapped = {slot.key for slot in elements if slot.container.startswith("syn_")}
    held = {slot.key for slot in elements if slot.container.startswith("cookie_")}
    direct = {slot.key for slot in elements if slot.container.startswith("direct")}
    assert mapped == held == chosen.serving
    assert all(CONTAINERS[slot.container].holds(slot.key) for slot in elements)
    assert not direct & mapped
    assert all(replace(item, port=0) in chosen.proxied for item in direct)
    chains = {chain.name for chain in chosen.chains()}
    assert all(target in chains for target in elements.values() if target != MEMBER)


@given(cookies(), st.data())
def test_who_serves_changes_by_elements_alone(old: Cookies, data: st.DataObject) -> None:
    names = sorted(old.proxied)
    chosen = data.draw(st.sets(st.sampled_from(names))) if names else set()
    new = replace(old, serverless=frozenset(chosen))
    text = serving_changes(old, new)
    assert text == changes(Ruleset(cookies=old), Ruleset(cookies=new))
    assert "table" not in text
    assert bool(text) is (old.serverless != new.serverless)


def test_a_service_without_server_is_excepted_where_every_port_is_proxied() -> None:
    chosen = Cookies({WEB: OPTIONS, EVERY: OPTIONS}, serverless=frozenset({WEB}))
    assert Slot("direct4", WEB) in chosen.elements()
    assert Slot("syn_any4", EVERY) in chosen.elements()
    assert exempt({EVERY: OPTIONS}, [TLS, WEB6]) == {TLS}
    assert exempt({WEB: OPTIONS}, [TLS]) == frozenset()


def test_hooks_stay_with_empty_maps() -> None:
    busy = Ruleset(cookies=Cookies({WEB: OPTIONS}))
    found = expected_content(busy)
    assert found is not None
    assert found.hooked
    assert found.serving == {WEB}
    kept = adopting(Ruleset(), found)
    assert kept.used
    content = expected_content(kept)
    assert content is not None
    assert content.hooked
    assert content.elements == {}
    assert "type filter hook input priority 0" in changes(busy, kept)
    assert adopting(Ruleset(), None) == Ruleset()
    assert adopting(Ruleset(), expected_content(Ruleset(defences=DEFENDED))) == Ruleset()


@pytest.mark.parametrize("wrong", [DNS, MARK])
def test_what_is_not_tcp_by_address_cannot_be_proxied(wrong: ServiceKey) -> None:
    with pytest.raises(ValueError, match="cannot be behind SYN cookies"):
        Cookies({wrong: OPTIONS})


@pytest.mark.parametrize(("mss", "wscale"), [(535, 7), (65536, 7), (1460, -1), (1460, 15)])
def test_promises_that_tcp_cannot_make_are_refused(mss: int, wscale: int) -> None:
    with pytest.raises(ValueError, match=r"(mss|wscale) -?\d+ is not within"):
        SynProxy(mss, wscale)


DEFENDED = Defences.of([WEB], strays=[WEB], closed=[VIP], udp=[VIP], fragments=[VIP])


def test_defences_spare_services_that_did_not_ask() -> None:
    chosen = Defences.of([WEB, TLS, MARK, WEB6], strays=[WEB], closed=[VIP], udp=[VIP])
    assert chosen.elements() == {
        Slot("tcp_port4", WEB): STRAY,
        Slot("tcp_port4", TLS): PLAIN,
        Slot("tcp_any4", EVERY): UNSERVED,
        Slot("udp4", replace(EVERY, protocol=Protocol.UDP)): MEMBER,
        Slot("served_mark4", MARK): MEMBER,
    }


def test_an_address_with_udp_keeps_it_and_one_with_every_port_has_none_to_close() -> None:
    chosen = Defences.of([EVERY, DNS, TLS], strays=[EVERY], closed=[VIP], udp=[VIP])
    assert chosen.elements() == {Slot("tcp_any4", EVERY): STRAY, Slot("tcp_port4", TLS): PLAIN}


def test_only_what_is_asked_for_is_in_the_table() -> None:
    assert not Defences.of([WEB, MARK]).used
    assert Defences.of([WEB, MARK]).elements() == {}
    fragments = render(Ruleset(defences=Defences.of([WEB], fragments=[VIP])))
    assert "chain fragments" in fragments
    assert "hook input" not in fragments
    assert "chain fragments" not in render(Ruleset(defences=Defences.of([WEB], strays=[WEB])))


def test_between_two_only_what_both_drop_is_dropped() -> None:
    other = Defences.of([WEB, TLS], strays=[WEB, TLS], closed=[VIP])
    common = DEFENDED.common(other)
    assert common.strays == {WEB}
    assert common.closed == {VIP}
    assert common.udp == frozenset()
    assert DEFENDED.common(Defences()) == Defences()


def test_differences_say_what_an_element_is_for() -> None:
    expected = expected_content(Ruleset(cookies=Cookies({WEB: OPTIONS}), defences=DEFENDED))
    assert expected is not None
    gone = {Slot("syn_port4", WEB), Slot("cookie_port4", WEB), Slot("udp4", DNS)}
    elements = {slot: target for slot, target in expected.elements.items() if slot not in gone}
    elements[Slot("tcp_port4", TLS)] = STRAY
    assert differences(expected, replace(expected, elements=elements)) == (
        "tcp 198.51.100.1:80 is missing in the set behind SYN cookies",
        "tcp 198.51.100.1:80 is missing in the map of SYN cookies",
        "tcp 198.51.100.1:443 is not wanted in the defence against stray TCP segments",
    )
