"""What SYN cookies promise, from what the real servers were found to offer."""

from typing import TYPE_CHECKING

import pytest

from lvskeeper.daemon.offers import OfferBook
from lvskeeper.daemon.roles import (
    DirectorSpec,
    RealServerSpec,
    SynProxySpec,
    VirtualServerSpec,
)
from lvskeeper.health.spec import TcpOffer
from lvskeeper.ipvs.types import DestKey, Family, Forward, Protocol, ServiceKey
from lvskeeper.observe.fullnat_events import SynProxyMismatch
from lvskeeper.units import parse_address

if TYPE_CHECKING:
    from lvskeeper.observe.events import Event

KEY = ServiceKey(Family.INET, Protocol.TCP, parse_address("192.0.2.1"), 80)
ONE, TWO = (DestKey(parse_address(f"198.51.100.{number}"), 8080) for number in (1, 2))
AUTO = SynProxySpec()


def spec(
    proxy: SynProxySpec | None = AUTO, servers: tuple[DestKey, ...] = (ONE, TWO)
) -> DirectorSpec:
    real = tuple(RealServerSpec(key.address, key.port, Forward.NAT) for key in servers)
    return DirectorSpec(
        virtual_servers=(VirtualServerSpec("web", (KEY,), "rr", real, syn_proxy=proxy),)
    )


class Book:
    def __init__(self, following: DirectorSpec) -> None:
        self.told: list[Event] = []
        self.book = OfferBook(self.told.append)
        self.spec = following
        self.book.follow(following)

    def changed(self) -> bool:
        return self.book.changed

    def note(self, server: DestKey, mss: int, wscale: int | None) -> None:
        self.book.note("web", server, TcpOffer(mss, wscale))


def test_without_an_offer_nothing_is_known() -> None:
    assert Book(spec()).book.measured(spec()) == {}


def test_the_least_offers_are_promised_and_the_difference_is_told_once() -> None:
    here = Book(spec())
    here.note(ONE, 1460, 10)
    here.note(TWO, 1400, 7)
    assert here.changed()
    assert here.book.measured(here.spec) == {KEY: (1400, 7)}
    assert not here.changed()
    here.note(ONE, 1460, 10)
    assert not here.changed()
    here.book.measured(here.spec)
    assert [(event.option, event.promised, event.offered) for event in mismatches(here)] == [
        ("mss", 1400, "1400, 1460"),
        ("wscale", 7, "7, 10"),
    ]


def mismatches(here: Book) -> list[SynProxyMismatch]:
    return [event for event in here.told if isinstance(event, SynProxyMismatch)]


def test_servers_that_agree_need_no_word() -> None:
    here = Book(spec())
    here.note(ONE, 1460, 7)
    here.note(TWO, 1460, 7)
    assert here.book.measured(here.spec) == {KEY: (1460, 7)}
    assert here.told == []


@pytest.mark.parametrize(
    ("proxy", "word"),
    [
        (SynProxySpec(wscale=10), "room"),
        (SynProxySpec(wscale=3), "smaller"),
        (SynProxySpec(mss=1460), "not agree"),
        (SynProxySpec(mss=536), "shorter"),
    ],
)
def test_a_configured_promise_that_does_not_fit_is_told_with_what_follows(
    proxy: SynProxySpec, word: str
) -> None:
    here = Book(spec(proxy))
    here.note(ONE, 1400, 7)
    here.book.measured(here.spec)
    (event,) = mismatches(here)
    assert word in event.consequence


def test_a_scale_is_not_judged_where_none_is_promised() -> None:
    here = Book(spec(SynProxySpec(wscale=10, timestamp=False)))
    here.note(ONE, 1460, 7)
    here.book.measured(here.spec)
    assert here.told == []


def test_a_server_without_scaling_is_promised_as_it_is() -> None:
    here = Book(spec())
    here.note(ONE, 1460, None)
    assert here.book.measured(here.spec) == {KEY: (1460, 0)}


def test_offers_of_servers_that_left_count_no_more() -> None:
    here = Book(spec())
    here.note(ONE, 1000, 7)
    here.note(TWO, 1460, 7)
    here.book.measured(here.spec)
    left = spec(servers=(TWO,))
    here.book.follow(left)
    assert here.changed()
    assert here.book.measured(left) == {KEY: (1460, 7)}


def test_servers_without_cookies_are_not_noted() -> None:
    here = Book(spec(None))
    here.note(ONE, 1000, 7)
    assert not here.changed()
    assert here.book.measured(here.spec) == {}
