"""LIPs on real devices, with real connections through them; nft stands in for IPVS."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from support.fullnat_net import DIRECTOR, OTHER_LIP4, SERVER4, STAND_IN, VIP4, Network, run

from lvskeeper.daemon import addresses
from lvskeeper.daemon.addresses import AddressKeeper
from lvskeeper.daemon.roles import LocalAddressSpec, PoolSpec
from lvskeeper.kernel.links import present_addresses
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.events import Event
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

LIP, SPARE = "10.0.0.30", "10.0.0.31"
SOURCES = f"""
table inet sources {{
  chain post {{ type nat hook postrouting priority srcnat;
    ip daddr {SERVER4} snat ip to {LIP}
  }}
}}
"""
_Result = TypeVar("_Result")


def pool(*lips: str, device: str = "back") -> list[PoolSpec]:
    return [PoolSpec("lips", tuple(LocalAddressSpec(parse_address(lip), device) for lip in lips))]


class Site:
    """A keeper in the director's namespace, and what it said."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.events: list[Event] = []
        self.keeper = AddressKeeper(self.events.append, ())

    def do(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        async def main() -> _Result:
            return await work()

        with self.net.inside(DIRECTOR):
            return asyncio.run(main())

    def restart(self) -> None:
        self.keeper = AddressKeeper(self.events.append, self.keeper.ours)

    def have(self, pools: list[PoolSpec], *, countable: bool = True) -> None:
        async def work() -> None:
            await self.keeper.add(pools)
            await self.keeper.dismiss_others(pools, countable=countable)

        self.do(work)

    def look(self) -> None:
        self.do(self.keeper.see_off)

    def has(self, lip: str, device: str = "back") -> bool:
        return (parse_address(lip), device) in self.do(present_addresses)

    def told(self) -> list[Event]:
        told, self.events[:] = list(self.events), []
        return told


@pytest.fixture
def site() -> Iterator[Site]:
    with Network() as net:
        with net.inside(DIRECTOR):
            run("nft -f -", data=STAND_IN + SOURCES)
            for state in ("time_wait", "last_ack", "close"):
                path = f"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}"
                Path(path).write_text("1", encoding="ascii")
        yield Site(net)


def added(lip: str, device: str = "back") -> Event:
    return events.LocalAddressChanged(lip, device, "added")


def removed(lip: str, device: str = "back") -> Event:
    return events.LocalAddressChanged(lip, device, "removed")


def leaving(lip: str, connections: str, limit: str = "60 min 0 s") -> Event:
    return events.LocalAddressLeaving(lip, "back", connections, limit)


def test_a_lip_that_leaves_stays_until_its_last_connection_has_ended(site: Site) -> None:
    site.have(pool(LIP))
    connection = site.net.connect(VIP4)
    assert connection.ask() == LIP

    site.have(pool(SPARE))
    site.look()
    site.look()

    assert site.told() == [added(LIP), added(SPARE), leaving(LIP, "1")]
    run(f"ip -n {site.net.name('server')} neigh flush all")  # it has to ask for the LIP anew
    assert connection.ask() == LIP
    connection.close()
    while site.has(LIP):
        site.look()
    assert site.told() == [removed(LIP)]
    assert [item.address for item in site.keeper.ours] == [parse_address(SPARE)]


def test_a_lip_without_connections_goes_with_the_first_look(site: Site) -> None:
    site.have(pool(LIP, SPARE))

    site.have(pool(LIP))
    assert site.has(SPARE)
    site.look()

    assert not site.has(SPARE)
    assert site.has(LIP)
    assert site.told() == [added(LIP), added(SPARE), removed(SPARE)]


def test_a_lip_that_waited_too_long_is_removed_with_a_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "LEAVING_LIMIT", 0.001)
    site.have(pool(LIP))
    site.net.connect(VIP4).ask()

    site.have([])
    site.look()
    assert site.has(LIP)
    site.look()

    assert not site.has(LIP)
    cut = events.LocalAddressCut(LIP, "back")
    assert site.told() == [added(LIP), leaving(LIP, "1", "1.0 ms"), cut, removed(LIP)]


def test_a_lip_that_is_wanted_again_stays(site: Site) -> None:
    site.have(pool(LIP))
    connection = site.net.connect(VIP4)
    connection.ask()

    site.have([])
    site.look()
    site.have(pool(LIP))
    connection.close()
    site.look()

    assert site.has(LIP)
    assert site.told() == [added(LIP), leaving(LIP, "1")]


def test_a_lip_goes_on_leaving_after_a_restart(site: Site) -> None:
    site.have(pool(LIP))
    site.net.connect(VIP4).ask()
    site.have([])
    site.look()
    site.told()

    site.restart()
    site.have([])
    site.look()

    assert site.has(LIP)
    assert site.told() == [leaving(LIP, "1")]


def test_many_leave_in_turns_of_some(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "LOOKS", 1)
    site.have(pool(LIP, SPARE))
    site.net.connect(VIP4).ask()

    site.have([])
    site.look()  # the first one stays, and is the last from now on
    site.look()

    assert site.has(LIP)
    assert not site.has(SPARE)


def test_where_connections_cannot_be_counted_a_lip_waits_some_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "LEAVING_BLINDLY", 0.001)
    site.have(pool(LIP), countable=False)

    site.have([], countable=False)
    site.look()
    assert site.has(LIP)
    site.look()

    assert not site.has(LIP)
    assert site.told() == [added(LIP), leaving(LIP, "unknown", "1.0 ms"), removed(LIP)]


def test_a_lip_that_was_there_before_is_never_removed(site: Site) -> None:
    site.have(pool(OTHER_LIP4))

    site.have([])
    site.look()
    site.do(site.keeper.remove_all)

    assert site.has(OTHER_LIP4)
    assert site.told() == []


def test_a_lip_that_moves_leaves_its_old_device_at_once(site: Site) -> None:
    site.have(pool(LIP))

    site.have(pool(LIP, device="lo"))

    assert site.has(LIP, "lo")
    assert not site.has(LIP)
    assert site.told() == [added(LIP), added(LIP, "lo"), removed(LIP)]


def test_a_lip_that_a_pool_has_without_its_device_now_stays(site: Site) -> None:
    site.have(pool(LIP))

    site.have(pool(LIP, device=""))
    site.look()
    assert site.has(LIP)
    site.have([])
    site.look()

    assert not site.has(LIP)


def test_a_stop_removes_all_at_once(site: Site) -> None:
    site.have(pool(LIP, SPARE))
    site.net.connect(VIP4).ask()
    site.have(pool(SPARE))
    site.look()

    site.do(site.keeper.remove_all)

    assert not site.has(LIP)
    assert not site.has(SPARE)
    assert site.keeper.ours == ()
