"""Entries of addresses, routes and rules: what they come to, and what is refused where."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.holding_entries import address_entry, route_entry, rule_entry
from lvskeeper.config.holding_model import AddressEntry, RouteEntry, RuleEntry
from lvskeeper.units import Address, parse_address

EntryReader: TypeAlias = Callable[[Sequence[str]], dict[str, object]]

FAMILY = "all addresses of an entry are of one family"
ANY4 = Address(bytes(4))
ANY6 = Address(bytes(16))
# A word a line would be a page of words.
# fmt: off
WORDS = (
    "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "fe80::1", "default", "default6", "all", "0", "1",
    "32", "0x10", "5/0xff", "+", "-", "main", "lo", "eth0", "eth0:1", "forever", "nonsense",
    "dev", "oif", "iif", "scope", "brd", "broadcast", "label", "peer", "home", "-nodad",
    "autojoin", "mngtmpaddr", "noprefixroute", "no_track", "preferred_lft", "track_group",
    "use_vmac", "to", "via", "gw", "src", "inet", "inet6", "table", "lookup", "metric",
    "priority", "preference", "proto", "protocol", "tos", "onlink", "mtu", "lock", "advmss",
    "nexthop", "or", "unicast", "local", "blackhole", "throw", "from", "fwmark", "order", "pref",
    "type", "not", "goto", "10.0.0.0/", "/24", "::", ":", "/", ".", "ä", "\u0663",
    "\u06f1/\u06f2", "10.0.0.0/\u0663",    "99999999999999999999999", "-1", "0x", "0xfffffffff",
)
ROUTE_WORDS = (
    "append", "as", "congctl", "cwnd", "encap", "expires", "fastopen_no_cookie", "features",
    "from", "hoplimit", "initcwnd", "initrwnd", "nexthop", "pref", "prepend", "quickack",
    "realms", "reordering", "rto_min", "rtt", "rttvar", "ssthresh", "ttl-propagate", "vrf",
    "window",
)
RULE_WORDS = (
    "dport", "goto", "ip_proto", "ipproto", "l3mdev", "nop", "not", "protocol", "realms", "sport",
    "sup_group", "sup_pl", "suppress_ifgroup", "suppress_prefixlength", "tunnel-id", "uidrange",
)
# fmt: on


def bad(read: EntryReader, line: str) -> tuple[str, str, str]:
    """Return the word that is refused, the reason and the hint."""
    words = line.split()
    with pytest.raises(BadValueError) as caught:
        read(words)
    return words[caught.value.index], caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("10.0.0.1", {"prefix": 32}),
        ("10.0.0.1/24", {"prefix": 24}),
        ("10.0.0.1/24 dev eth1 scope link", {"prefix": 24, "dev": "eth1", "scope": 253}),
        ("10.0.0.1/24 scope 200", {"prefix": 24, "scope": 200}),
        ("10.0.0.1/22 brd +", {"prefix": 22, "brd": parse_address("10.0.3.255")}),
        ("10.0.0.1/22 broadcast -", {"prefix": 22, "brd": parse_address("10.0.0.0")}),
        ("10.0.0.1 brd 10.0.0.9", {"prefix": 32, "brd": parse_address("10.0.0.9")}),
        ("10.0.0.1/24 dev eth0 label eth0:1", {"prefix": 24, "dev": "eth0", "label": "eth0:1"}),
        ("10.0.0.1/24 dev eth0 label vip", {"prefix": 24, "dev": "eth0", "label": "vip"}),
        ("10.0.0.1 peer 10.0.0.2/24", {"prefix": 24, "peer": parse_address("10.0.0.2")}),
        ("10.0.0.1/32 peer 10.0.0.2", {"prefix": 32, "peer": parse_address("10.0.0.2")}),
        ("10.0.0.1 preferred_lft 60 no_track", {"preferred_lft": 60, "no_track": True}),
        ("10.0.0.1 track_group g use_vmac", {"track_group": "g", "use_vmac": True}),
        (
            "10.0.0.1 home mngtmpaddr noprefixroute autojoin",
            {"home": True, "mngtmpaddr": True, "noprefixroute": True, "autojoin": True},
        ),
    ],
)
def test_an_address_has_its_options(line: str, fields: dict[str, Any]) -> None:
    expected = AddressEntry(**{"address": parse_address("10.0.0.1"), "prefix": 32, **fields})
    assert AddressEntry.model_validate(address_entry(line.split())) == expected


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("2001:db8::1", {"prefix": 128}),
        ("2001:db8::1/64 scope global", {"prefix": 64}),
        ("2001:db8::1 preferred_lft forever", {"prefix": 128, "preferred_lft": "forever"}),
    ],
)
def test_an_ipv6_address_has_its_options(line: str, fields: dict[str, Any]) -> None:
    expected = AddressEntry(**{"address": parse_address("2001:db8::1"), **fields})
    assert AddressEntry.model_validate(address_entry(line.split())) == expected


@pytest.mark.parametrize(
    ("line", "word", "message", "hint"),
    [
        ("10.0.0.1/33", "10.0.0.1/33", "/33 is longer than an address of IPv4", "from 0 to 32"),
        ("fd00::1/129", "fd00::1/129", "/129 is longer than an address of IPv6", "from 0 to 128"),
        ("10.0.0.1/255.255.0.0", "10.0.0.1/255.255.0.0", "not a prefix length", "such as /24"),
        ("10.0.0.1/", "10.0.0.1/", "'' is not a prefix length", "a decimal number"),
        ("10.0.0.1/0", "10.0.0.1/0", "prefix length 0", "length of its network"),
        ("eth0", "eth0", "'eth0' is not an address", "numeric"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0 cannot be held", "unicast"),
        ("224.0.0.18", "224.0.0.18", "224.0.0.18 cannot be held", "unicast"),
        ("ff02::12", "ff02::12", "ff02::12 cannot be held", "unicast"),
        ("10.0.0.1 dve eth0", "dve", "'dve' is no word of an address", "did you mean 'dev'?"),
        ("10.0.0.1 DEV eth0", "DEV", "'DEV' is no word of an address", "did you mean 'dev'?"),
        ("10.0.0.1 xyzzy", "xyzzy", "'xyzzy' is no word of an address", "one of dev, scope"),
        ("10.0.0.1 dev", "dev", "'dev' needs a value", "write dev VALUE"),
        ("10.0.0.1 dev a/b", "a/b", "not the name of a network device", "15 characters"),
        ("10.0.0.1 dev a dev b", "dev", "'dev' is given twice", "leave one"),
        ("10.0.0.1/8 brd + broadcast -", "broadcast", "sets again", "leave one"),
        ("10.0.0.1 brd +", "+", "a /32 has no broadcast address", "leave brd out"),
        ("10.0.0.1/31 brd -", "-", "a /31 has no broadcast address", "leave brd out"),
        ("10.0.0.1/24 brd fd00::1", "fd00::1", "fd00::1 is of IPv6", FAMILY),
        ("10.0.0.1 peer 10.0.0.2 brd 10.0.0.3", "10.0.0.3", "has no broadcast", "leave brd out"),
        ("fd00::1/64 brd +", "+", "IPv6 has no broadcast addresses", "leave brd out"),
        ("fd00::1/64 label lo:1", "lo:1", "an IPv6 address has no label", "leave label out"),
        ("fd00::1/64 scope link", "link", "part of the address", "leave scope out"),
        ("10.0.0.1 scope lnk", "lnk", "'lnk' is not a scope", "did you mean 'link'?"),
        ("10.0.0.1 scope 256", "256", "256 is not within 0 to 255", ""),
        ("10.0.0.1 label a2345678901234:1", "a2345678901234:1", "more than 15", "eth0:1"),
        ("10.0.0.1 label ä:1", "ä:1", "'ä:1' is not a label", "eth0:1"),
        ("10.0.0.1/24 peer 10.0.0.2", "10.0.0.1/24", "is the peer's", "peer 10.0.0.2/24"),
        ("10.0.0.1 peer fd00::2", "fd00::2", "fd00::2 is of IPv6, the entry of IPv4", FAMILY),
        ("10.0.0.1 preferred_lft never", "never", "or forever", "decimal"),
        ("fd00::1 -nodad", "-nodad", "not served yet", "used at once"),
        ("fd00::1 nodad", "nodad", "is no word", "leave it out"),
        ("10.0.0.1 via 10.0.0.2", "via", "is no word", "virtual_routes"),
    ],
)
def test_a_bad_address_is_refused_at_its_word(
    line: str, word: str, message: str, hint: str
) -> None:
    at, said, advice = bad(address_entry, line)
    assert at == word
    assert message in said
    assert hint in advice


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("10.1.0.0/16 dev eth1", {"dev": "eth1"}),
        ("to 10.1.0.0/16 oif eth1", {"dev": "eth1"}),
        ("10.1.0.0/16 via 10.0.0.1", {"via": parse_address("10.0.0.1")}),
        ("10.1.0.0/16 gw 10.0.0.1", {"via": parse_address("10.0.0.1")}),
        ("10.1.0.0/16 via inet 10.0.0.1", {"via": parse_address("10.0.0.1")}),
        ("src 10.0.0.9 to 10.1.0.0/16 dev a", {"src": parse_address("10.0.0.9"), "dev": "a"}),
        ("10.1.0.0/16 dev a table local", {"dev": "a", "table": 255}),
        ("10.1.0.0/16 dev a table 1000", {"dev": "a", "table": 1000}),
        ("10.1.0.0/16 dev a metric 5", {"dev": "a", "metric": 5}),
        ("10.1.0.0/16 dev a priority 5", {"dev": "a", "metric": 5}),
        ("10.1.0.0/16 dev a preference 5", {"dev": "a", "metric": 5}),
        ("10.1.0.0/16 dev a scope host", {"dev": "a", "scope": 254}),
        ("10.1.0.0/16 dev a protocol bird", {"dev": "a", "protocol": 12}),
        ("10.1.0.0/16 dev a proto 16", {"dev": "a", "protocol": 16}),
        ("10.1.0.0/16 dev a tos 20", {"dev": "a", "tos": 20}),
        ("10.1.0.0/16 dev a dsfield 0x20", {"dev": "a", "tos": 32}),
        ("10.1.0.0/16 dev a mtu 1400 advmss 1360", {"dev": "a", "mtu": 1400, "advmss": 1360}),
        ("10.1.0.0/16 dev a no_track track_group g", {"dev": "a", "no_track": True}),
        ("blackhole 10.1.0.0/16", {"type": "blackhole"}),
        ("throw to 10.1.0.0/16", {"type": "throw"}),
        ("10.1.0.0/16 unreachable", {"type": "unreachable"}),
        ("local 10.1.0.0/16 dev lo", {"type": "local", "dev": "lo"}),
        (
            "10.1.0.0/16 via 10.0.0.1 dev a onlink",
            {"via": parse_address("10.0.0.1"), "dev": "a", "onlink": True},
        ),
    ],
)
def test_a_route_has_its_options(line: str, fields: dict[str, Any]) -> None:
    network: dict[str, Any] = {"destination": parse_address("10.1.0.0"), "prefix": 16}
    if "track_group" in line:
        fields = {**fields, "track_group": "g"}
    assert RouteEntry.model_validate(route_entry(line.split())) == RouteEntry(**network, **fields)


@pytest.mark.parametrize(
    ("line", "destination", "prefix"),
    [
        ("default dev a", ANY4, 0),
        ("all dev a", ANY4, 0),
        ("0.0.0.0/0 dev a", ANY4, 0),
        ("default via 10.0.0.1", ANY4, 0),
        ("default via fd00::1", ANY6, 0),
        ("default via inet6 fd00::1", ANY6, 0),
        ("default dev a src fd00::1", ANY6, 0),
        ("default6 dev a", ANY6, 0),
        ("::/0 dev a", ANY6, 0),
        ("10.1.2.3 dev a", parse_address("10.1.2.3"), 32),
        ("2001:db8::1 dev a", parse_address("2001:db8::1"), 128),
        ("2001:db8::1/32 dev a", parse_address("2001:db8::"), 32),
    ],
)
def test_the_other_addresses_tell_the_family_of_a_default_route(
    line: str, destination: Address, prefix: int
) -> None:
    values = route_entry(line.split())
    assert (values["destination"], values["prefix"]) == (destination, prefix)


@pytest.mark.parametrize(
    ("line", "word", "message", "hint"),
    [
        ("via 10.0.0.1", "via", "the route has no destination", "10.1.0.0/16"),
        ("10.1.0.0/16", "10.1.0.0/16", "neither gateway nor device", "add via"),
        ("local 10.1.0.0/16", "local", "neither gateway nor device", "add via"),
        ("10.1.0.1/16 dev a", "10.1.0.1/16", "bits set after its prefix", "write 10.1.0.0/16"),
        ("10.1/16 dev a", "10.1/16", "'10.1' is not an address", "numeric"),
        ("10.1.0.0/16 to 10.2.0.0/16 dev a", "to", "sets again", "leave one"),
        ("10.1.0.0/16 10.2.0.0/16 dev a", "10.2.0.0/16", "sets again", "leave one"),
        ("10.1.0.0/16 via fd00::1", "fd00::1", "fd00::1 is of IPv6", FAMILY),
        ("default6 via 10.0.0.1", "10.0.0.1", "10.0.0.1 is of IPv4", FAMILY),
        ("default via fd00::1 src 10.0.0.1", "10.0.0.1", "10.0.0.1 is of IPv4", FAMILY),
        ("10.1.0.0/16 via inet6 10.0.0.1", "inet6", "does not fit a route of IPv4", "leave"),
        ("10.1.0.0/16 via", "via", "'via' needs a value", "write via VALUE"),
        ("10.1.0.0/16 dev a table 0", "0", "0 is not within 1 to 4294967295", ""),
        ("10.1.0.0/16 dev a table small", "small", "not a routing table", "write the number"),
        ("10.1.0.0/16 dev a table mian", "mian", "not a routing table", "did you mean 'main'?"),
        ("10.1.0.0/16 dev a protocol foo", "foo", "not a routing protocol", "write the number"),
        ("10.1.0.0/16 dev a metric 0x10", "0x10", "not a whole number", "decimal"),
        ("10.1.0.0/16 dev a tos 256", "256", "256 is not within 0 to 255", ""),
        ("10.1.0.0/16 dev a tos 22", "22", "two lowest bits", "ECN"),
        ("2001:db8::/32 dev a tos 4", "4", "has no type of service", "leave tos out"),
        ("10.1.0.0/16 dev a mtu lock 1400", "lock", "not served yet", "path MTU"),
        ("10.1.0.0/16 dev a mtu 0", "0", "0 is not within 1 to 65535", ""),
        ("blackhole 10.1.0.0/16 via 10.0.0.1", "10.0.0.1", "a blackhole route has", "via"),
        ("prohibit 10.1.0.0/16 dev a", "a", "neither gateway nor device", "leave dev out"),
        ("unicast local 10.1.0.0/16 dev a", "local", "sets again", "leave one"),
        ("fd00::/8 via fe80::1", "fe80::1", "a link-local gateway needs a device", "add dev"),
        ("10.1.0.0/16 via 10.0.0.1 onlink", "onlink", "onlink needs a device", "add dev"),
        ("10.1.0.0/16 gw 10.0.0.1 or 10.0.0.2", "or", "not served yet", "one gateway"),
        ("10.1.0.0/16 dev a hoplmit 3", "hoplmit", "no word of a route", "mean 'hoplimit'?"),
        ("nat 10.1.0.0/16 dev a", "nat", "not served yet", "leave it out"),
    ],
)
def test_a_bad_route_is_refused_at_its_word(line: str, word: str, message: str, hint: str) -> None:
    at, said, advice = bad(route_entry, line)
    assert at == word
    assert message in said
    assert hint in advice


@pytest.mark.parametrize("word", ROUTE_WORDS)
def test_a_word_of_routes_that_is_not_served_is_known(word: str) -> None:
    at, message, hint = bad(route_entry, f"10.1.0.0/16 dev a {word} 1")
    assert (at, message) == (word, f"'{word}' is a word of keepalived that is not served yet")
    assert hint


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("from 10.1.0.0/16 table 5", {"source": parse_address("10.1.0.0"), "source_prefix": 16}),
        ("from 10.1.2.3/16 table 5", {"source": parse_address("10.1.2.3"), "source_prefix": 16}),
        ("from all table 5", {}),
        ("from 0.0.0.0/0 table 5", {}),
        ("from all fwmark 7 lookup 5", {"fwmark": 7}),
        ("fwmark 0x10/0xff table 5", {"fwmark": 16, "fwmask": 255}),
        ("iif a oif b table 5", {"iif": "a", "oif": "b"}),
        ("dev a table 5 no_track track_group g", {"iif": "a", "no_track": True}),
        ("tos 0x10 table 5", {"tos": 16}),
        ("from all table 5 priority 0", {"priority": 0}),
        ("from all table 5 preference 9", {"priority": 9}),
        ("from all table 5 order 9", {"priority": 9}),
        ("from all table 5 pref 9", {"priority": 9}),
        ("from all prohibit", {"type": "prohibit", "table": None}),
        ("from all type blackhole", {"type": "blackhole", "table": None}),
        ("from all table main", {"table": 254}),
        ("inet6 fwmark 1 table 5", {"family": 6, "fwmark": 1}),
        ("inet6 tos 0x20 table 5", {"family": 6, "tos": 32}),
        (
            "from all to fd00::/8 table 5",
            {"family": 6, "destination": parse_address("fd00::"), "destination_prefix": 8},
        ),
        ("to default6 table 5", {"family": 6}),
    ],
)
def test_a_rule_has_its_options(line: str, fields: dict[str, Any]) -> None:
    expected: dict[str, Any] = {"family": 4, "table": 5, **fields}
    if "track_group" in line:
        expected["track_group"] = "g"
    assert RuleEntry.model_validate(rule_entry(line.split())) == RuleEntry(**expected)


@pytest.mark.parametrize(
    ("line", "word", "message", "hint"),
    [
        ("from 10.1.0.0/16", "from", "does not say what it does", "add table N"),
        ("from all table 5 blackhole", "blackhole", "a rule has one action", "names a table"),
        ("from all prohibit table 5", "5", "a rule has one action", "names a table"),
        ("from all table 0", "0", "0 is not within 1 to 4294967295", ""),
        ("from 10.0.0.1 to fd00::1 table 5", "fd00::1", "is not of IPv4", FAMILY),
        ("inet from fd00::1 table 5", "inet", "does not fit a rule of IPv6", "leave"),
        ("from 0/0 table 5", "0/0", "'0' is not an address", "numeric"),
        ("10.0.0.1 table 5", "10.0.0.1", "no word of a rule", "from 10.0.0.1"),
        ("fwmark 5/ table 5", "5/", "'' is not a firewall mark", "decimal"),
        ("fwmark 0x1ffffffff table 5", "0x1ffffffff", "not a firewall mark", "decimal"),
        ("tos 0x20 table 5", "0x20", "upper bits", "up to 28"),
        ("from all type goto", "goto", "not served yet", "blackhole"),
        ("from all type unicast", "unicast", "no type of rule", "one of blackhole"),
        ("from all via 10.0.0.1", "via", "no word of a rule", "table N"),
        ("from all tabel 5", "tabel", "no word of a rule", "did you mean 'table'?"),
        ("from all table 5 priority 1 order 2", "order", "sets again", "leave one"),
    ],
)
def test_a_bad_rule_is_refused_at_its_word(line: str, word: str, message: str, hint: str) -> None:
    at, said, advice = bad(rule_entry, line)
    assert at == word
    assert message in said
    assert hint in advice


@pytest.mark.parametrize("word", RULE_WORDS)
def test_a_word_of_rules_that_is_not_served_is_known(word: str) -> None:
    at, message, hint = bad(rule_entry, f"from all {word} 1")
    assert (at, message) == (word, f"'{word}' is a word of keepalived that is not served yet")
    assert hint


@pytest.mark.parametrize(
    ("read", "model", "first"),
    [
        (address_entry, AddressEntry, "10.0.0.1"),
        (route_entry, RouteEntry, "10.1.0.0/16"),
        (rule_entry, RuleEntry, "from"),
    ],
)
@given(
    words=st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=8), whole=st.booleans()
)
def test_words_make_an_entry_or_a_refusal_that_points_at_one_of_them(
    read: EntryReader,
    model: type[AddressEntry] | type[RouteEntry] | type[RuleEntry],
    first: str,
    words: list[str],
    *,
    whole: bool,
) -> None:
    line = words if whole and words else [first, *words]
    try:
        values = read(line)
    except BadValueError as bad_value:
        refused = bad_value
    else:
        assert model.model_validate(values).model_fields_set == values.keys()
        return
    assert 0 <= refused.index < len(line)
    assert refused.message
