"""The watch over pools, with a kernel's IPVS in memory and real connection tracking."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.capacity import CapacityWatch, wanted_entries
from lvskeeper.daemon.desired import entries, local_pools, make_pool
from lvskeeper.daemon.plan_notes import notes
from lvskeeper.daemon.roles import (
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    Ports,
    RealServerSpec,
    VirtualServerSpec,
)
from lvskeeper.daemon.rooms import places_of, rooms_of
from lvskeeper.fullnat.capacity import TRIES, Room, Snapshot, State
from lvskeeper.ipvs.control import SyncDaemon, SyncState
from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.dialect import FORK_V2, MAINLINE, Traits
from lvskeeper.ipvs.types import DestKey, Entry, Family, Forward, Protocol, ServiceKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.events import Event
from lvskeeper.units import format_address, parse_address

LIPS = tuple(parse_address(f"10.9.0.{number}") for number in (1, 2))
SERVERS = tuple(parse_address(f"10.0.0.{number}") for number in (1, 2))
FIRST, SECOND = (DestKey(server, 80) for server in SERVERS)
POOL = PoolSpec("lips", tuple(map(LocalAddressSpec, LIPS)))


def virtual(
    vport: int,
    *,
    ports: Ports | None = (5000, 5999),
    forward: Forward = Forward.FULLNAT,
    rport: int = 80,
) -> VirtualServerSpec:
    key = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), vport)
    servers = tuple(RealServerSpec(server, rport, forward) for server in SERVERS)
    pool = "lips" if forward is Forward.FULLNAT else ""
    return VirtualServerSpec(f"tcp {vport}", (key,), "rr", servers, pool=pool, ports=ports)


def spec(*virtuals: VirtualServerSpec) -> DirectorSpec:
    return DirectorSpec(virtual_servers=virtuals, pools=(POOL,))


class Site:
    """A kernel that has the services of a specification, and the watch over it."""

    def __init__(self, of: DirectorSpec, traits: Traits = MAINLINE) -> None:
        self.spec = of
        self.kernel = FakeIpvs(traits)
        self.client = IpvsClient(self.kernel.socket, load=lambda: None, sysctls=self.kernel.sysctls)
        self.client.open()
        table: dict[ServiceKey, Entry] = {}
        lips = local_pools(of)[POOL.name]
        for item in of.virtual_servers:
            pool = make_pool(item, 0.0)
            pool.start()
            for key, entry in entries(item, pool.serving(), lips).items():
                table[key] = render_entry(entry, traits)
        self.kernel.load(table)
        self.events: list[Event] = []
        self.watch = CapacityWatch(self.events.append)

    def look(self, **active: int) -> list[Event]:
        # The kernel in memory gives every destination eight that are inactive, in each service.
        self.kernel.active = {FIRST: active["first"], SECOND: active["second"]}
        self.events.clear()
        asyncio.run(self.watch.look(self.spec, self.client))
        self.watch.close()  # the next look opens it anew
        # Nobody tracks the connections of a kernel in memory.
        return [event for event in self.events if not isinstance(event, events.ConntrackLost)]


@pytest.fixture
def _inside() -> Iterator[None]:
    with empty_namespace():
        yield


pytestmark = [pytest.mark.root, pytest.mark.usefixtures("_inside")]


def test_connections_that_nobody_tracks_are_told_once() -> None:
    site = Site(spec(virtual(80)))
    site.look(first=600, second=10)
    assert site.events == [events.ConntrackLost(0, 600 + 10 + 2 * 8)]
    site.look(first=600, second=10)
    assert site.events == []


def test_connections_that_a_peer_tells_of_are_no_loss_of_ours() -> None:
    """IPVS's sync daemon counts them, and connection tracking of a backup never had them."""
    site = Site(spec(virtual(80)))
    site.client.start_daemon(SyncDaemon(SyncState.BACKUP, "eth0"))
    site.look(first=600, second=10)
    assert site.events == []
    # Taking over is no flush either.
    site.client.stop_daemon(SyncState.BACKUP)
    site.look(first=600, second=10)
    assert site.events == []


def test_the_loads_of_all_services_of_a_pool_count_together() -> None:
    site = Site(spec(virtual(80), virtual(443)))

    assert site.look(first=600, second=10) == []
    found = site.look(first=792, second=10)

    nearly = events.PoolNearlyFull("lips", "tcp 10.0.0.1:80", 2 * 800, 2000, "88%")
    assert found == [nearly]
    assert site.look(first=792, second=10) == []
    relieved = events.PoolRelieved(
        "lips", "nearly full", "tcp 10.0.0.1:80", 2 * 108, 2000, "14%", 0
    )
    assert site.look(first=100, second=10) == [relieved]


def test_ranges_of_their_own_are_judged_apart() -> None:
    site = Site(spec(virtual(80), virtual(443, ports=(6000, 6999))))

    assert site.look(first=792, second=10) == []
    (use,) = site.watch.snapshot.pools
    assert (use.connections, use.state) == (2 * 818, State.ROOMY)


def test_the_snapshot_has_connection_tracking() -> None:
    site = Site(spec(virtual(80)))
    site.look(first=1, second=1)
    assert site.watch.snapshot.conntrack is not None
    assert site.watch.snapshot.conntrack.limit > 0


def test_what_was_found_is_forgotten_with_the_last_fullnat_service() -> None:
    """Nobody looks any more, and the figures would stay for ever."""
    site = Site(spec(virtual(80)))
    site.look(first=1, second=1)
    site.spec = spec(virtual(80, forward=Forward.NAT))
    for _ in range(2):
        site.look(first=1, second=1)
    assert site.watch.snapshot == Snapshot()


def test_without_fullnat_nothing_is_looked_at() -> None:
    site = Site(spec(virtual(80, forward=Forward.NAT)))
    assert site.look(first=9_999, second=0) == []
    assert site.watch.snapshot == Snapshot()


def test_a_kernel_with_fullnat_tells_by_its_local_addresses() -> None:
    site = Site(spec(virtual(80)), FORK_V2)
    site.kernel.locals_counted = {LIPS[0]: (0, 600), LIPS[1]: (0, 200)}
    assert site.look(first=792, second=0) == []
    (use,) = site.watch.snapshot.pools
    assert use.worst.leaning == 0.75

    site.kernel.locals_counted = {LIPS[0]: (3 * TRIES, 600), LIPS[1]: (0, 200)}
    (exhausted,) = site.look(first=792, second=0)
    assert isinstance(exhausted, events.PoolExhausted)
    assert exhausted.failures == 3


def test_a_removed_virtual_server_ends_the_alarm() -> None:
    site = Site(spec(virtual(80)))
    assert len(site.look(first=1900, second=0)) == 1
    site.spec = spec()
    (relieved,) = site.look(first=1900, second=0)
    assert isinstance(relieved, events.PoolRelieved)
    assert site.look(first=1900, second=0) == []


def test_rooms_of_a_configuration() -> None:
    both = spec(virtual(80), virtual(443), virtual(81, ports=None, rport=0))
    assert rooms_of(both) == [
        Room("lips", Family.INET, 1024, 65535, 2, 2),
        Room("lips", Family.INET, 5000, 5999, 2, 2),
    ]
    assert 2 * 2 * (64512 + 1000) >= wanted_entries(both) > 0
    assert wanted_entries(spec()) == 0


def test_a_service_of_all_ports_has_no_room_to_be_judged() -> None:
    assert places_of(spec(virtual(0, rport=0))) == {}
    assert rooms_of(spec(virtual(0, rport=0))) == []


def test_a_plan_notes_what_pools_can_carry_and_what_connection_tracking_cannot(
    tmp_path: Path,
) -> None:
    limit = tmp_path / "net" / "netfilter" / "nf_conntrack_max"
    limit.parent.mkdir(parents=True)
    limit.write_text("3000")
    here = spec(virtual(80))
    room = (
        "pool lips: 2 LIPs x 1000 ports (5000-5999) = 2000 connections to each real server "
        "(2 real servers: 4000 at most)"
    )
    below = (
        "net.netfilter.nf_conntrack_max is 3000, below the 4000 connections that the pools can "
        "carry; 4000 fits into the memory of this machine"
    )
    away = (
        "pool lips: 10.9.0.1 and 1 more on no device of this machine: the real servers need a "
        "route to them by way of this director"
    )
    assert notes(here, native=False, root=tmp_path) == [room, below, away]

    limit.write_text("4000")
    for lip in LIPS:
        run(f"ip addr add {format_address(lip)} dev lo")
    assert notes(here, native=False, root=tmp_path) == [room]
    assert "(5000-65535)" in notes(here, native=True, root=tmp_path)[0]
    ranged = replace(here, sysctls=(("fullnat_lport_min", 6000), ("fullnat_lport_max", 6999)))
    assert "(6000-6999)" in notes(ranged, native=True, root=tmp_path)[0]
    assert notes(ranged, native=True, root=tmp_path)[1].startswith("laddr_ports of ")
