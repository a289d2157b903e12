from dataclasses import replace

from support.ipvs_strategies import KEYS

from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.dialect import FORK_V2, FORK_V3, MAINLINE
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Forward,
    Service,
    ServiceFlag,
)
from lvskeeper.units import parse_address

KEY = DestKey(parse_address("198.51.100.1"), 80)
FLAGS = ServiceFlag.SYNPROXY | ServiceFlag.PERSISTENT
WISH = Entry(
    Service(KEYS[0], "wrr", FLAGS, 300, established=600),
    {KEY: Destination(KEY, Forward.FULLNAT, 3)},
    frozenset({parse_address("203.0.113.1")}),
)


def test_mainline_gets_nat_and_nothing_of_the_fork() -> None:
    assert render_entry(WISH, MAINLINE) == Entry(
        Service(KEYS[0], "wrr", ServiceFlag.PERSISTENT, 300),
        {KEY: Destination(KEY, Forward.NAT, 3)},
    )


def test_the_second_fork_gets_all_but_the_timeout() -> None:
    expected = Service(KEYS[0], "wrr", FLAGS, 300)

    assert render_entry(WISH, FORK_V2) == replace(WISH, service=expected)


def test_the_third_fork_gets_it_as_it_is() -> None:
    assert render_entry(WISH, FORK_V3) is WISH


def test_the_third_fork_fills_in_its_default_timeout_for_tcp() -> None:
    traits = replace(FORK_V3, established_default=90)
    web, dns = Service(KEYS[0], "rr"), Service(KEYS[2], "rr")

    assert render_entry(Entry(web), traits).service.established == 90
    assert render_entry(Entry(dns), traits).service.established is None


def test_rendering_twice_changes_nothing_more() -> None:
    for traits in (MAINLINE, FORK_V2, FORK_V3):
        once = render_entry(WISH, traits)
        assert render_entry(once, traits) == once
