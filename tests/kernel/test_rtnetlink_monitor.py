"""News of a real kernel: of links, addresses, routes and rules, and of their loss."""

import contextlib
import select
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.fullnat_net import namespace
from support.vrrp_net import DEVICE, two_hosts
from support.waiting import wait_until

from lvskeeper.kernel.monitor import Overrun
from lvskeeper.kernel.rtnetlink import RouteClient, index_of
from lvskeeper.kernel.rtnetlink_changes import (
    AddAddress,
    AddMacvlan,
    AddRoute,
    AddRule,
    Change,
    DeleteAddress,
    DeleteRoute,
    SetLink,
)
from lvskeeper.kernel.rtnetlink_codec import comparable
from lvskeeper.kernel.rtnetlink_monitor import (
    AddressNews,
    LinkNews,
    News,
    RouteMonitor,
    RouteNews,
    RuleNews,
)
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import parse_address
from lvskeeper.vrrp.holdings import PROTOCOL, HeldAddress, Route, Rule

pytestmark = pytest.mark.root

VIP4, VIP6 = parse_address("192.0.2.100"), parse_address("2001:db8::100")
NET4, NET6 = parse_address("198.51.100.0"), parse_address("2001:db8:1::")
GATE4 = parse_address("192.0.2.2")
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


def done(client: RouteClient, *changes: Change) -> None:
    assert client.apply(changes) == ()


def told(monitor: RouteMonitor, kind: type[News], count: int = 1) -> list[News]:
    """Return *count* news of *kind*, with what came between left out."""
    found: list[News] = []
    until = time.monotonic() + 5
    while len(found) < count:
        select.select([monitor], [], [], max(until - time.monotonic(), 0))
        found += (each for each in monitor.drain() if isinstance(each, kind))
        assert time.monotonic() < until, f"no news: {found}"
    return found


@pytest.fixture
def monitor(here: Namespace) -> Iterator[RouteMonitor]:
    assert here.name
    with RouteMonitor(protocols={PROTOCOL}) as made:
        yield made


def test_news_of_addresses(here: Namespace, client: RouteClient, monitor: RouteMonitor) -> None:
    assert monitor.drain() == []
    for held, text in ((HELD4, "192.0.2.100/32"), (HELD6, "2001:db8::100/128")):
        done(client, AddAddress(held, lifetime=77.0))
        (came,) = told(monitor, AddressNews)
        here.ip(f"addr del {text} dev {DEVICE}")
        (went,) = told(monitor, AddressNews)
        assert isinstance(came, AddressNews)
        assert isinstance(went, AddressNews)
        assert (came.gone, went.gone) == (False, True)
        assert came.present.address == went.present.address == held.address
        assert came.present.index == went.present.index == index_of(DEVICE)
        assert came.present.valid == 77


def test_news_of_links(here: Namespace, monitor: RouteMonitor) -> None:
    here.ip(f"link add vrrp.51 link {DEVICE} type macvlan mode private")
    made = told(monitor, LinkNews)[-1]
    assert isinstance(made, LinkNews)
    assert (made.link.name, made.link.up, made.gone) == ("vrrp.51", False, False)
    here.ip("link set vrrp.51 up")
    up = told(monitor, LinkNews)[-1]
    assert isinstance(up, LinkNews)
    assert (up.link.up, up.link.running, up.gone) == (True, True, False)
    here.ip("link del vrrp.51")
    went = told(monitor, LinkNews)[-1]
    assert isinstance(went, LinkNews)
    assert (went.link.name, went.link.index, went.gone) == ("vrrp.51", made.link.index, True)


def test_leaving_a_bridge_is_no_going(here: Namespace, monitor: RouteMonitor) -> None:
    with contextlib.suppress(Exception):
        here.ip("link add br0 type bridge")
    if not index_of("br0"):
        pytest.skip("this kernel has no bridges")
    here.ip(f"link set {DEVICE} master br0", f"link set {DEVICE} nomaster", "link del br0")
    news: list[News] = []
    while more := monitor.drain():
        news += more
    gone = [each.link.name for each in news if isinstance(each, LinkNews) and each.gone]
    assert gone == ["br0"]


def test_an_interface_that_goes_takes_its_addresses_along(
    here: Namespace, client: RouteClient, monitor: RouteMonitor
) -> None:
    done(client, AddMacvlan("vrrp.51", DEVICE, MAC), SetLink("vrrp.51", up=True))
    held = replace(HELD4, device="vrrp.51")
    done(client, AddAddress(held))
    index = index_of("vrrp.51")
    monitor.drain()
    here.ip("link del vrrp.51")
    news: list[News] = []
    wait_until(lambda: _is_gone(news, monitor, index))
    gone = [each for each in news if isinstance(each, AddressNews) and each.gone]
    assert VIP4 in [each.present.address for each in gone]
    (refusal,) = client.apply([AddAddress(held)])
    assert refusal.reason == "No such device"
    done(client, DeleteAddress(held))


def _is_gone(news: list[News], monitor: RouteMonitor, index: int) -> bool:
    news += monitor.drain()
    return any(isinstance(each, LinkNews) and each.gone for each in news) and not any(
        isinstance(each, LinkNews) and each.link.index != index and each.gone for each in news
    )


@pytest.mark.parametrize(
    "route",
    [Route(NET4, 24, gateway=GATE4, device=DEVICE), Route(NET6, 64, device=DEVICE, metric=5)],
)
def test_news_of_our_routes_alone(
    here: Namespace, client: RouteClient, monitor: RouteMonitor, route: Route
) -> None:
    here.ip(f"route add 203.0.113.0/24 dev {DEVICE} proto static")
    done(client, AddRoute(route))
    (came,) = told(monitor, RouteNews)
    done(client, DeleteRoute(route))
    (went,) = told(monitor, RouteNews)
    assert isinstance(came, RouteNews)
    assert isinstance(went, RouteNews)
    assert (came.gone, came.replaces, went.gone) == (False, False, True)
    assert came.present.is_like(route, index_of(DEVICE))
    assert went.present.is_like(route, index_of(DEVICE))


def test_a_route_that_takes_the_place_of_ours_is_told(
    here: Namespace, client: RouteClient, monitor: RouteMonitor
) -> None:
    ours = Route(NET4, 24, gateway=GATE4, device=DEVICE)
    done(client, AddRoute(ours))
    told(monitor, RouteNews)
    here.ip(f"route replace 198.51.100.0/24 via 192.0.2.3 dev {DEVICE}")
    (news,) = told(monitor, RouteNews)
    assert isinstance(news, RouteNews)
    assert news.replaces
    assert news.present.takes_place_of(ours)
    assert not news.present.is_like(ours, index_of(DEVICE))


@pytest.mark.parametrize("family", [4, 6])
def test_news_of_rules(
    here: Namespace, client: RouteClient, monitor: RouteMonitor, family: int
) -> None:
    rule = Rule(family, 1000, fwmark=7, table=77, watched=False)
    done(client, AddRule(rule))
    (came,) = told(monitor, RuleNews)
    here.run(["ip", f"-{family}", "rule", "del", "pref", "1000"])
    (went,) = told(monitor, RuleNews)
    assert came == RuleNews(comparable(rule))
    assert went == RuleNews(comparable(rule), gone=True)


def test_routes_and_rules_are_told_on_request_only(here: Namespace, client: RouteClient) -> None:
    with RouteMonitor() as monitor:
        done(client, AddRoute(Route(NET4, 24, device=DEVICE)), AddRule(Rule(4, 1000)))
        done(client, AddAddress(HELD4))
        assert {type(each) for each in monitor.drain()} == {AddressNews}
        assert here.name


def test_lost_news_are_told_and_what_waited_is_thrown_away(client: RouteClient) -> None:
    with RouteMonitor(buffer=4096) as monitor:
        done(client, *(AddAddress(replace(HELD4, prefix=bits)) for bits in range(25, 33)))
        done(client, *(DeleteAddress(replace(HELD4, prefix=bits)) for bits in range(25, 33)))
        assert monitor.drain() == [Overrun()]
        assert monitor.drain() == []
        done(client, AddAddress(HELD4))
        (news,) = monitor.drain()
        assert isinstance(news, AddressNews)
        assert news.present.address == VIP4


def test_no_more_is_read_at_once_than_the_limit(client: RouteClient) -> None:
    with RouteMonitor() as monitor:
        done(client, *(AddAddress(replace(HELD4, prefix=bits)) for bits in range(25, 33)))
        assert len(monitor.drain(3)) == 3
        assert len(monitor.drain()) == 5
