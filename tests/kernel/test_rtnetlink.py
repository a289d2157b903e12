"""Addresses, routes, rules and links of a real kernel, with ``ip`` as the second opinion."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.fullnat_net import namespace
from support.vrrp_net import DEVICE, HERE4, two_hosts
from support.waiting import wait_until

from lvskeeper.kernel.rtnetlink import Refusal, RouteClient, index_of
from lvskeeper.kernel.rtnetlink_changes import (
    AddAddress,
    AddIpvlan,
    AddMacvlan,
    AddRoute,
    AddRule,
    Change,
    DeleteAddress,
    DeleteLink,
    DeleteRoute,
    DeleteRule,
    SetLink,
)
from lvskeeper.kernel.rtnetlink_codec import (
    IFA_F_NODAD,
    Link,
    PresentAddress,
    PresentRoute,
    comparable,
)
from lvskeeper.lab.netns import Namespace, set_sysctls
from lvskeeper.units import Address, format_address, parse_address
from lvskeeper.vrrp.holdings import PROTOCOL, HeldAddress, Route, Rule

pytestmark = pytest.mark.root

VIP4, VIP6 = parse_address("192.0.2.100"), parse_address("2001:db8::100")
NET4, NET6 = parse_address("198.51.100.0"), parse_address("2001:db8:1::")
GATE4, GATE6 = parse_address("192.0.2.2"), parse_address("2001:db8::2")
ANY4, ANY6 = Address(bytes(4)), Address(bytes(16))
MAC = bytes.fromhex("00005e000133")
HELD4, HELD6 = HeldAddress(VIP4, 32, DEVICE), HeldAddress(VIP6, 128, DEVICE)


@pytest.fixture
def here() -> Iterator[Namespace]:
    """A namespace with eth0, in which this thread is meanwhile."""
    with two_hosts() as (made, _), namespace(made.name):
        yield made


@pytest.fixture
def client(here: Namespace) -> Iterator[RouteClient]:
    assert here.name
    with RouteClient() as made:
        yield made


def ip(here: Namespace, *words: str) -> list[dict[str, Any]]:
    output = here.run(["ip", "-j", "-d", *words]).stdout
    found: list[dict[str, Any]] = json.loads(output or "[]")
    return found


def shown(here: Namespace, held: HeldAddress) -> dict[str, Any] | None:
    """Return what ``ip`` shows of an address, or nothing."""
    for device in ip(here, "addr", "show", "dev", held.device):
        for entry in device["addr_info"]:
            if parse_address(entry["local"]) == held.address:
                assert isinstance(entry, dict)
                return entry
    return None


def present(client: RouteClient, address: Address) -> PresentAddress | None:
    return next((each for each in client.addresses() if each.address == address), None)


def done(client: RouteClient, *changes: Change) -> None:
    assert client.apply(changes) == ()


# --- links ---


def test_links_are_listed_as_they_are(here: Namespace, client: RouteClient) -> None:
    links = {link.name: link for link in client.links()}
    (shown_link,) = ip(here, "link", "show", DEVICE)
    assert links[DEVICE].index == shown_link["ifindex"] == index_of(DEVICE)
    assert links[DEVICE].mac.hex(":") == shown_link["address"]
    assert (links[DEVICE].kind, links[DEVICE].mtu) == ("veth", shown_link["mtu"])
    assert links[DEVICE].up
    assert links[DEVICE].running
    assert links["lo"] == Link(1, "lo", up=True, running=True, mac=bytes(6), mtu=65536)


def test_a_link_whose_other_end_is_down_is_up_but_does_not_run() -> None:
    with two_hosts() as (here, there), namespace(here.name), RouteClient() as client:
        there.ip(f"link set {DEVICE} down")
        wait_until(lambda: not _link(client, DEVICE).running)
        assert _link(client, DEVICE).up


def test_a_link_is_switched_off_and_on(client: RouteClient) -> None:
    done(client, SetLink(DEVICE, up=False))
    assert not _link(client, DEVICE).up
    assert not _link(client, DEVICE).running
    done(client, SetLink(DEVICE, up=True))
    assert _link(client, DEVICE).up


def _link(client: RouteClient, name: str) -> Link:
    return next(link for link in client.links() if link.name == name)


def test_a_macvlan_is_made_switched_on_and_deleted(here: Namespace, client: RouteClient) -> None:
    done(client, AddMacvlan("vrrp.51", DEVICE, MAC), SetLink("vrrp.51", up=True))
    made = _link(client, "vrrp.51")
    assert (made.kind, made.mac, made.lower) == ("macvlan", MAC, index_of(DEVICE))
    wait_until(lambda: _link(client, "vrrp.51").running)
    (entry,) = ip(here, "link", "show", "vrrp.51")
    assert entry["linkinfo"]["info_data"]["mode"] == "private"
    (refusal,) = client.apply([AddMacvlan("vrrp.51", DEVICE, MAC)])
    assert str(refusal) == "cannot make macvlan vrrp.51 on eth0: File exists"
    assert refusal.hint == "another interface has that name"
    done(client, DeleteLink("vrrp.51"))
    assert not index_of("vrrp.51")
    done(client, DeleteLink("vrrp.51"))


def test_many_devices_are_deleted_at_once_and_no_others(client: RouteClient) -> None:
    names = [f"vrrp.{number}" for number in range(1, 31)]
    macs = [Address(MAC[:-1] + bytes([number])) for number in range(1, 31)]
    done(client, *(AddMacvlan(*each) for each in zip(names, [DEVICE] * 30, macs, strict=True)))
    before = {link.name for link in client.links()}
    assert before >= set(names)
    assert client.delete_links(["nowhere0", *names[1:]]) == ()
    assert {link.name for link in client.links()} == before - set(names[1:])
    assert client.delete_links(["nowhere0", "nowhere1"]) == ()
    assert client.delete_links([names[0]]) == ()
    assert client.delete_links([]) == ()
    assert {link.name for link in client.links()} == before - set(names)


@pytest.mark.ipvs  # a kernel with that has ipvlan, too
@pytest.mark.parametrize("mode", ["bridge", "private", "vepa"])
def test_an_ipvlan_is_made(here: Namespace, client: RouteClient, mode: str) -> None:
    assert client.apply([AddIpvlan("vrrp.51", DEVICE, mode)]) == ()
    (entry,) = ip(here, "link", "show", "vrrp.51")
    assert entry["linkinfo"]["info_kind"] == "ipvlan"
    assert entry["linkinfo"]["info_data"]["mode"] == "l2"
    assert mode in str(entry["linkinfo"]["info_data"])


# --- addresses ---


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (HELD4, {"prefixlen": 32, "scope": "global", "label": DEVICE}),
        (replace(HELD4, prefix=25), {"prefixlen": 25}),
        (replace(HELD4, scope=253), {"scope": "link"}),
        (replace(HELD4, label="eth0:vip"), {"label": "eth0:vip"}),
        (replace(HELD4, prefix=24, broadcast=GATE4), {"broadcast": "192.0.2.2"}),
        (replace(HELD4, peer=GATE4), {"address": "192.0.2.2", "prefixlen": 32}),
        (replace(HELD4, prefix=24, flags=0x200), {"noprefixroute": True}),
        (replace(HELD4, preferred=0), {"deprecated": True}),
        (HELD6, {"prefixlen": 128, "scope": "global", "nodad": True, "noprefixroute": True}),
        (replace(HELD6, prefix=64), {"prefixlen": 64}),
        (replace(HELD6, prefix=64, flags=0x100), {"mngtmpaddr": True}),
        (replace(HELD6, preferred=0), {"deprecated": True, "preferred_life_time": 0}),
        (replace(HELD6, peer=GATE6), {"address": "2001:db8::2"}),
        (replace(HELD6, address=parse_address("fe80::99"), scope=253), {"scope": "link"}),
    ],
)
def test_each_option_of_an_address_is_as_ip_shows_it(
    here: Namespace, client: RouteClient, held: HeldAddress, wanted: dict[str, object]
) -> None:
    done(client, AddAddress(held))
    entry = shown(here, held)
    assert entry is not None
    assert {key: entry.get(key) for key in wanted} == wanted
    found = present(client, held.address)
    assert found is not None
    assert (found.index, found.prefix, found.scope) == (index_of(DEVICE), held.prefix, held.scope)
    assert (found.peer, found.broadcast) == (held.peer, held.broadcast)
    assert found.label == (held.label or ("" if len(held.address) == 16 else DEVICE))
    assert (found.valid, found.preferred) == (None, held.preferred)
    done(client, DeleteAddress(held))
    assert shown(here, held) is None


@pytest.mark.parametrize("held", [HELD4, HELD6])
def test_a_host_address_brings_no_route(
    here: Namespace, client: RouteClient, held: HeldAddress
) -> None:
    before = client.routes()
    done(client, AddAddress(held))
    assert shown(here, held)
    assert client.routes() == before


@pytest.mark.parametrize("held", [HELD4, HELD6])
def test_a_lifetime_is_rounded_up_and_the_address_goes_with_it(
    here: Namespace, client: RouteClient, held: HeldAddress
) -> None:
    done(client, AddAddress(replace(held, preferred=5), lifetime=0.2))
    found = present(client, held.address)
    assert found is not None
    assert found.valid in {0, 1}
    assert found.preferred in {0, 1}
    wait_until(lambda: shown(here, held) is None)


@pytest.mark.parametrize("held", [HELD4, HELD6])
def test_an_address_that_is_there_gets_its_lifetime_anew(
    here: Namespace, client: RouteClient, held: HeldAddress
) -> None:
    done(client, AddAddress(held))
    done(client, AddAddress(held, lifetime=99.5))
    assert (shown(here, held) or {})["valid_life_time"] in {99, 100}
    done(client, AddAddress(held, lifetime=1000))
    assert (shown(here, held) or {})["valid_life_time"] in {999, 1000}
    done(client, AddAddress(held))
    found = present(client, held.address)
    assert found is not None
    assert (found.valid, found.preferred) == (None, None)


def test_an_ipv6_address_is_usable_at_once(client: RouteClient) -> None:
    done(client, AddAddress(replace(HELD6, prefix=64)))
    found = present(client, VIP6)
    assert found is not None
    assert found.usable
    assert found.flags & IFA_F_NODAD


def test_of_a_batch_with_bad_ones_the_good_ones_are_in(
    here: Namespace, client: RouteClient
) -> None:
    set_sysctls(here.name, {"ipv6/conf/lo/disable_ipv6": "1"})
    missing = AddAddress(replace(HELD4, device="nowhere0"))
    disabled = AddAddress(replace(HELD6, device="lo"))
    senseless = AddAddress(replace(HELD4, prefix=77))
    refusals = client.apply(
        [missing, AddAddress(HELD4), disabled, senseless, AddAddress(HELD6), missing]
    )
    assert [refusal.change for refusal in refusals] == [missing, disabled, senseless, missing]
    assert shown(here, HELD4)
    assert shown(here, HELD6)
    assert str(refusals[0]) == "cannot add address 192.0.2.100/32 dev nowhere0: No such device"
    assert refusals[0].hint == "make the interface first, or correct its name"
    assert "disable_ipv6" in refusals[1].hint
    assert refusals[2] == Refusal(senseless, "Invalid argument")


def test_a_batch_of_nothing_but_bad_ones_returns(client: RouteClient) -> None:
    bad = AddAddress(replace(HELD4, device="nowhere0"))
    assert [refusal.change for refusal in client.apply([bad, bad])] == [bad, bad]
    assert client.apply([]) == ()
    assert present(client, VIP4) is None


def test_what_is_gone_is_deleted_without_complaint(client: RouteClient) -> None:
    done(
        client,
        DeleteAddress(HELD4),
        DeleteAddress(HELD6),
        DeleteAddress(replace(HELD4, device="nowhere0")),
        DeleteRoute(Route(NET4, 24, device=DEVICE)),
        DeleteRoute(Route(NET6, 64, device=DEVICE)),
        DeleteRoute(Route(NET4, 24, device="nowhere0")),
        DeleteRule(Rule(4, 1000)),
        DeleteRule(Rule(6, 1000)),
        DeleteLink("nowhere0"),
    )
    assert present(client, HERE4) is not None


@pytest.mark.parametrize("base", [parse_address("10.9.0.0"), parse_address("2001:db8:9::")])
def test_a_thousand_addresses_come_and_go_in_a_moment(client: RouteClient, base: Address) -> None:
    prefix = len(base) * 8
    held = [
        HeldAddress(Address(base[:-2] + number.to_bytes(2, "big")), prefix, "lo")
        for number in range(1000)
    ]
    before = len(client.addresses())
    begun = time.process_time()
    done(client, *(AddAddress(each) for each in held))
    assert time.process_time() - begun < 1.0
    assert len(client.addresses()) == before + 1000
    done(client, *(DeleteAddress(each) for each in reversed(held)))
    assert len(client.addresses()) == before


# --- routes and rules ---


ROUTES: Sequence[tuple[Route, dict[str, object]]] = [
    (Route(NET4, 24, gateway=GATE4), {"dst": "198.51.100.0/24", "gateway": "192.0.2.2"}),
    (Route(NET4, 24, device=DEVICE), {"dev": DEVICE, "scope": "link", "protocol": "keepalived"}),
    (Route(ANY4, 0, gateway=GATE4, device=DEVICE), {"dst": "default", "gateway": "192.0.2.2"}),
    (Route(NET4, 24, kind=6), {"type": "blackhole"}),
    (Route(NET4, 24, kind=7), {"type": "unreachable"}),
    (Route(NET4, 24, device=DEVICE, source=HERE4), {"prefsrc": "192.0.2.1"}),
    (Route(NET4, 24, device=DEVICE, table=1000), {"table": "1000"}),
    (Route(NET4, 24, device=DEVICE, metric=77), {"metric": 77}),
    (Route(NET4, 24, device=DEVICE, scope=200), {"scope": "site"}),
    (Route(NET4, 24, device=DEVICE, protocol=4), {"protocol": "static"}),
    (Route(NET4, 24, device=DEVICE, tos=8), {"tos": "0x08"}),
    (Route(NET4, 24, gateway=NET4, device=DEVICE, onlink=True), {"flags": ["onlink"]}),
    (Route(NET4, 24, device=DEVICE, mtu=1400, advmss=1300), {"metrics": [{"mtu": 1400}]}),
    (Route(NET6, 64, gateway=GATE6), {"dst": "2001:db8:1::/64", "gateway": "2001:db8::2"}),
    (Route(ANY6, 0, gateway=GATE6, device=DEVICE), {"dst": "default", "metric": 1024}),
    (Route(NET6, 64, device=DEVICE, metric=5, table=77), {"metric": 5, "table": "77"}),
    (Route(NET6, 64, kind=7), {"type": "unreachable"}),
    (Route(NET6, 64, device=DEVICE, mtu=1400), {"metrics": [{"mtu": 1400}]}),
]


@pytest.mark.parametrize(("route", "wanted"), ROUTES, ids=lambda each: str(each)[:40])
def test_each_field_of_a_route_is_as_ip_shows_it(
    here: Namespace, client: RouteClient, route: Route, wanted: dict[str, object]
) -> None:
    index = index_of(route.device) if route.device else 0
    family = "-6" if len(route.destination) == 16 else "-4"
    where = "default" if not route.prefix else f"{format_address(route.destination)}/{route.prefix}"
    show = (family, "route", "show", "table", "all", where)
    done(client, AddRoute(route))
    done(client, AddRoute(route))
    (entry,) = ip(here, *show)
    assert wanted.items() <= {**entry, "metrics": [_mtu(entry)]}.items()
    (found,) = client.routes(route.table, route.protocol)
    assert found.is_like(route, index)
    assert found in client.routes(route.table)
    assert (found.mtu, found.advmss, found.onlink) == (route.mtu, route.advmss, route.onlink)
    done(client, DeleteRoute(route))
    assert ip(here, *show) == []
    assert client.routes(route.table, route.protocol) == ()


def _mtu(entry: dict[str, Any]) -> dict[str, object]:
    return {
        key: metric[key] for metric in entry.get("metrics", ()) for key in metric if key == "mtu"
    }


def test_a_foreign_route_to_the_same_place_is_let_be(here: Namespace, client: RouteClient) -> None:
    here.ip(f"route add 198.51.100.0/24 via 192.0.2.3 dev {DEVICE} proto static")
    ours = Route(NET4, 24, gateway=GATE4, device=DEVICE)
    done(client, AddRoute(ours))
    gates = [entry["gateway"] for entry in ip(here, "route", "show", "198.51.100.0/24")]
    assert gates == ["192.0.2.2", "192.0.2.3"]
    done(client, DeleteRoute(ours))
    (left,) = ip(here, "route", "show", "198.51.100.0/24")
    assert (left["gateway"], left["protocol"]) == ("192.0.2.3", "static")


@pytest.mark.parametrize(
    ("route", "part"),
    [
        (Route(NET4, 24, gateway=NET4), "onlink"),
        (Route(NET4, 24, device="nowhere0"), "correct its name"),
        (Route(NET4, 24, device=DEVICE, source=NET4), "source address"),
    ],
)
def test_a_route_that_cannot_be_is_refused_with_a_hint(
    client: RouteClient, route: Route, part: str
) -> None:
    (refusal,) = client.apply([AddRoute(route)])
    assert refusal.change == AddRoute(route)
    assert part in refusal.hint


def test_the_way_out_follows_the_routes(here: Namespace, client: RouteClient) -> None:
    here.ip(
        "route add 198.51.100.0/24 via 192.0.2.2",
        "route add 2001:db8:1::/64 dev lo",
    )

    assert client.way_out(VIP4) == client.way_out(parse_address("198.51.100.9")) == index_of(DEVICE)
    assert client.way_out(parse_address("2001:db8:1::9")) == index_of("lo")
    assert client.way_out(parse_address("203.0.113.1")) == 0


def test_a_route_is_told_from_others_to_the_same_place() -> None:
    route = Route(NET4, 24, gateway=GATE4, device=DEVICE, metric=5)
    found = PresentRoute(NET4, 24, 1, GATE4, 7, table=254, metric=5, protocol=PROTOCOL)
    assert found.is_like(route, 7)
    assert found.is_like(replace(route, device=""), 0)
    assert found.takes_place_of(replace(route, gateway=HERE4))
    for other in (
        replace(route, gateway=HERE4),
        replace(route, kind=6),
        replace(route, protocol=4),
        replace(route, source=HERE4),
    ):
        assert not found.is_like(other, 7)
    assert not found.is_like(route, 8)
    for other in (
        replace(route, prefix=25),
        replace(route, table=7),
        replace(route, metric=0),
        replace(route, tos=8),
    ):
        assert not found.takes_place_of(other)


RULES: Sequence[tuple[Rule, dict[str, object]]] = [
    (Rule(4, 1000), {"priority": 1000, "src": "all", "table": "main", "protocol": "keepalived"}),
    (Rule(4, 1000, source=NET4, source_prefix=24), {"src": "198.51.100.0", "srclen": 24}),
    (Rule(4, 1000, destination=VIP4, destination_prefix=32), {"dst": "192.0.2.100"}),
    (Rule(4, 1000, iif=DEVICE, oif="nowhere0"), {"iif": DEVICE, "oif": "nowhere0"}),
    (Rule(4, 1000, fwmark=7, table=1000), {"fwmark": "0x7", "table": "1000"}),
    (Rule(4, 1000, fwmark=7, fwmask=0xFF), {"fwmark": "0x7", "fwmask": "0xff"}),
    (Rule(4, 1000, tos=8), {"tos": "0x08"}),
    (Rule(4, 1000, source=VIP4, source_prefix=32, action=8), {"action": "prohibit"}),
    (Rule(6, 1000, source=NET6, source_prefix=64, table=77), {"src": "2001:db8:1::"}),
    (Rule(6, 1000, destination=VIP6, destination_prefix=128), {"dst": "2001:db8::100"}),
]


@pytest.mark.parametrize(("rule", "wanted"), RULES, ids=lambda each: str(each)[:60])
def test_each_field_of_a_rule_is_as_ip_shows_it(
    here: Namespace, client: RouteClient, rule: Rule, wanted: dict[str, object]
) -> None:
    before = client.rules()
    done(client, AddRule(rule))
    done(client, AddRule(rule))
    show = (f"-{rule.family}", "rule", "show", "pref", "1000")
    (entry,) = ip(here, *show)
    assert wanted.items() <= entry.items()
    (found,) = set(client.rules()) - set(before)
    assert found == comparable(replace(rule, watched=False))
    done(client, DeleteRule(rule))
    assert ip(here, *show) == []
    assert client.rules() == before


def test_a_rule_that_says_more_than_ours_can_is_not_taken_for_one(
    here: Namespace, client: RouteClient
) -> None:
    before = client.rules()
    here.ip(
        "rule add pref 1000 ipproto tcp lookup main",
        "rule add pref 1001 not from 192.0.2.7 lookup main",
        "rule add pref 1002 lookup main suppress_prefixlength 0",
    )
    assert len(ip(here, "rule", "show")) == len(before) // 2 + 4
    assert client.rules() == before
