"""conntrackd's configuration, and what is read from its figures."""

from dataclasses import replace
from typing import Final

import pytest

from lvskeeper.fullnat.conntrackd import (
    ENTRY_COST,
    LEAST_REFRESH,
    PEER_PATIENCE,
    REFRESH_SHARE,
    Figures,
    Link,
    Paths,
    PeerWatch,
    parse_figures,
    refresh_pause,
    render,
)
from lvskeeper.units import Address, parse_address

PATHS: Final = Paths("/run/x/lock", "/run/x/ctl")
OURS, PEER = parse_address("10.255.0.1"), parse_address("10.255.0.2")
UNICAST: Final = Link("sync0", OURS, peer=PEER)

STATS: Final = """\
cache internal:
current active connections:\t          10
connections created:\t\t          11\tfailed:\t           0
connections updated:\t\t           0\tfailed:\t           0
connections destroyed:\t\t           1\tfailed:\t           0

external inject:
connections created:\t\t           7\tfailed:\t           2
connections updated:\t\t          14\tfailed:\t           3
connections destroyed:\t\t           5\tfailed:\t           4

traffic processed:
                   0 Bytes                         0 Pckts

UDP traffic (active device=sync):
                1144 Bytes sent                 2584 Bytes recv
                   5 Pckts sent                   31 Pckts recv
                   1 Error send                    2 Error recv

message tracking:
                   6 Malformed msgs                    8 Lost msgs

allocated queue nodes:\t\t           1

queue txqueue:
current elements:\t\t           4
maximum elements:\t\t  2147483647
not enough space errors:\t           0

queue errorq:
current elements:\t\t          99
maximum elements:\t\t         128
not enough space errors:\t           0

queue rsqueue:
current elements:\t\t           3
maximum elements:\t\t      131072
not enough space errors:\t           0

netlink stats:
\tevents received:\t                  30
\tnetlink overrun:\t\t           9
"""


def test_the_figures_are_read_from_what_conntrackd_prints() -> None:
    assert parse_figures(STATS) == Figures(
        own=10, injected=7, removed=5, failed=5, received=31, sent=5, errors=3, malformed=6,
        lost=8, unconfirmed=7, overruns=9,
    )  # fmt: skip


def test_figures_that_are_not_told_are_zero() -> None:
    assert parse_figures("") == Figures()


def test_unicast_names_both_ends() -> None:
    text = render(UNICAST, PATHS, 0)
    assert "UDP {\nIPv4_address 10.255.0.1\nIPv4_Destination_Address 10.255.0.2\nPort 3780" in text
    assert "Interface sync0" in text


def test_multicast_names_the_group() -> None:
    text = render(Link("sync0", OURS, group=parse_address("225.0.0.50"), port=3781), PATHS, 0)
    assert "Multicast {\nIPv4_address 225.0.0.50\nIPv4_interface 10.255.0.1\nGroup 3781" in text


def test_only_loopback_and_the_link_are_left_out() -> None:
    ignored = render(UNICAST, PATHS, 0).partition("Address Ignore {\n")[2].partition("}")[0]
    assert ignored.split() == [
        "IPv4_address", "127.0.0.1", "IPv6_address", "::1",
        "IPv4_address", "10.255.0.1", "IPv4_address", "10.255.0.2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "size", "buckets"),
    [(0, 131_072, 65_536), (1_000_000, 2_000_000, 524_288), (64_000_000, 128_000_000, 2_097_152)],
)
def test_sizes_follow_what_the_kernel_may_hold(limit: int, size: int, buckets: int) -> None:
    lines = render(UNICAST, PATHS, limit).splitlines()
    assert f"HashLimit {size}" in lines
    assert f"HashSize {buckets}" in lines


@pytest.mark.parametrize(("peer", "group"), [(None, None), (PEER, parse_address("225.0.0.50"))])
def test_a_link_has_one_way_to_the_peer(peer: Address | None, group: Address | None) -> None:
    with pytest.raises(ValueError, match="either"):
        replace(UNICAST, peer=peer, group=group)


def test_a_peer_is_there_when_its_packets_come() -> None:
    watch = PeerWatch()
    assert watch.on_figures(Figures(received=5), 0) is None
    assert watch.there is None
    assert watch.on_figures(Figures(received=6), 1) is True
    assert watch.on_figures(Figures(received=7), 2) is None
    assert watch.there is True


def test_a_peer_that_falls_silent_is_lost_once_and_comes_back() -> None:
    watch = PeerWatch()
    watch.on_figures(Figures(received=5), 0)
    watch.on_figures(Figures(received=6), 1)
    assert watch.on_figures(Figures(received=6), 1 + PEER_PATIENCE - 0.1) is None
    assert watch.on_figures(Figures(received=6), 1 + PEER_PATIENCE) is False
    assert watch.on_figures(Figures(received=6), 20) is None
    assert watch.on_figures(Figures(received=7), 21) is True


def test_a_peer_that_never_spoke_is_told_to_be_lost() -> None:
    watch = PeerWatch()
    assert watch.on_figures(Figures(), 0) is None
    assert watch.on_figures(Figures(), PEER_PATIENCE) is False


def test_refreshes_come_well_before_the_shortest_timeout() -> None:
    assert refresh_pause(1000, 120) == 40


def test_refreshes_of_a_big_table_keep_to_their_share() -> None:
    assert refresh_pause(10_000_000, 120) == 10_000_000 * ENTRY_COST / REFRESH_SHARE


def test_refreshes_are_never_too_close() -> None:
    assert refresh_pause(10, 1) == LEAST_REFRESH
