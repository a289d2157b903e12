"""Virtual addresses on this host: put there by the quorum, and the reason for checks to rest."""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.director_site import PORTS, Site, configuration, listening, site
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon import address_watch, vip_binder
from lvskeeper.daemon.address_watch import AddressWatch
from lvskeeper.daemon.channel import Stop
from lvskeeper.daemon.director import Director
from lvskeeper.daemon.state import StateFile
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.kernel.rtnetlink import Refusal
from lvskeeper.kernel.rtnetlink_changes import Change
from lvskeeper.kernel.rtnetlink_codec import Link, PresentAddress
from lvskeeper.observe.health_events import VipBound
from lvskeeper.units import parse_address

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

VIP = "198.51.100.1"
BOUND = "  alpha\n  vip_bind_dev back0"
RESTING = "  ha_suspend"


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up; ip link add back0 type veth peer back9; ip link set back0 up")
        yield


@pytest.fixture
def kernel() -> FakeIpvs:
    return FakeIpvs(MAINLINE)


def placed(device: str = "back0") -> list[str]:
    """Addresses on a device, with prefix lengths, but for link-local ones."""
    listing = run(f"ip -o address show dev {device} scope global")
    return sorted(re.findall(r"inet6? (\S+)", listing))


def second(port: int) -> str:
    """Another virtual server on the same address."""
    return configuration(port, extra=BOUND).replace(f"{VIP} 80", f"{VIP} 81")


def changes(here: Site) -> list[str]:
    """What was told of addresses."""
    return [event.change for event in here.events if isinstance(event, VipBound)]


async def rested(here: Site) -> None:
    await here.until(lambda: here.named("checks_rest"))


async def test_the_address_comes_with_the_quorum_and_goes_with_it(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0], extra=BOUND))
        assert placed() == []
        async with listening(PORTS[0]):
            await here.until(lambda: placed() == [f"{VIP}/32"])
        await here.until(lambda: placed() == [])
        # It is told after it is so
        await here.until(lambda: len(changes(here)) == 2)
        assert changes(here) == ["added", "removed"]


async def test_the_address_comes_even_where_that_cannot_be_noted(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    (tmp_path / "director.new").mkdir()
    async with site(kernel, tmp_path) as here, listening(PORTS[0]):
        await here.applied(configuration(PORTS[0], extra=BOUND))
        await here.until(lambda: placed() == [f"{VIP}/32"])
        assert len(here.named("upkeep_failed")) == 1


async def test_two_virtual_servers_hold_one_address(kernel: FakeIpvs, tmp_path: Path) -> None:
    text = configuration(PORTS[0], extra=BOUND) + second(PORTS[1])
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        async with listening(PORTS[1]) as servers:
            await here.until(lambda: placed() == [f"{VIP}/32"])
            async with listening(PORTS[0]):
                await here.until(lambda: len(here.named("quorum_gained")) == 2)
            await here.until(lambda: len(here.named("quorum_lost")) == 1)
            assert placed() == [f"{VIP}/32"]
            servers[PORTS[1]].close()
            await here.until(lambda: placed() == [])
            await here.until(lambda: len(changes(here)) == 2)
        assert changes(here) == ["added", "removed"]


async def test_ipv6_is_no_source_of_our_own_connections(kernel: FakeIpvs, tmp_path: Path) -> None:
    text = configuration(PORTS[0], extra="  vip_bind_dev back0", vip="2001:db8::1")
    text = re.sub(r"TCP_CHECK \{", "MISC_CHECK {\n      misc_path /bin/true", text)
    async with site(kernel, tmp_path) as here:
        await here.applied(text.replace("127.0.0.1", "::1"))
        assert placed() == ["2001:db8::1/128"]
        assert "deprecated" in run("ip address show dev back0")


async def test_what_others_remove_comes_back_and_what_others_put_there_stays(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    run(f"ip address add {VIP}/24 dev back0")
    async with site(kernel, tmp_path) as here, listening(PORTS[0]):
        text = configuration(PORTS[0], extra=BOUND)
        await here.applied(text)
        await here.until(lambda: here.named("quorum_gained"))
        await here.applied("global_defs {\n}\n" + configuration(PORTS[0]))
        assert placed() == [f"{VIP}/24"]
        await here.applied(text)
        run("ip address flush dev back0")
        await here.until(lambda: placed() == [f"{VIP}/32"])
        run("ip address flush dev back0")
        await here.until(lambda: placed() == [f"{VIP}/32"])
        await here.until(lambda: changes(here)[-1] == "restored")
        await here.ask(Stop(remove=True))
    assert placed() == []


async def test_a_reload_moves_it_and_a_successor_keeps_it(kernel: FakeIpvs, tmp_path: Path) -> None:
    run("ip link add back1 type veth peer back8; ip link set back1 up")
    text = configuration(PORTS[0], extra=BOUND)
    async with listening(PORTS[0]):
        async with site(kernel, tmp_path) as here:
            await here.applied(text)
            await here.until(lambda: placed() == [f"{VIP}/32"])
            await here.applied(text.replace("back0", "back1"))
            assert (placed(), placed("back1")) == ([], [f"{VIP}/32"])
            await here.gone()
        assert placed("back1") == [f"{VIP}/32"]
        async with site(kernel, tmp_path) as here:
            await here.applied(text.replace("back0", "back1"))
            assert placed("back1") == [f"{VIP}/32"]
            assert not here.named("vip_bound")
            await here.applied(configuration(PORTS[0]))
            assert placed("back1") == []
    assert StateFile(tmp_path).load().vips == ()


async def test_one_that_was_put_there_at_the_moment_of_a_kill_is_known_to_the_next(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, note = configuration(PORTS[0], extra=BOUND), tmp_path / "director.json"
    at_the_kill: list[bytes] = []
    applied = vip_binder._apply

    def put(changes: Sequence[Change]) -> list[Refusal]:
        refused = applied(changes)
        at_the_kill.append(note.read_bytes())
        return refused

    async with site(kernel, tmp_path) as here, listening(PORTS[0]):
        monkeypatch.setattr(vip_binder, "_apply", put)
        await here.applied(text)
        await here.until(lambda: placed() == [f"{VIP}/32"])
        await here.gone()
    monkeypatch.undo()
    note.write_bytes(at_the_kill[0])
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: placed() == [])


async def test_news_that_come_while_all_is_read_anew_count(monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"ip address add {VIP}/32 dev lo")
    read = address_watch._dump

    def read_and_be_late() -> tuple[tuple[Link, ...], tuple[PresentAddress, ...]]:
        found = read()
        run(f"ip address del {VIP}/32 dev lo")
        time.sleep(0.1)
        return found

    watch = AddressWatch(lambda: None)
    watch.open()
    monkeypatch.setattr(address_watch, "_dump", read_and_be_late)
    await watch.refresh()
    await asyncio.sleep(0.05)
    assert not watch.has(parse_address(VIP))
    watch.close()


async def test_a_device_that_is_missing_is_told_once_and_used_when_it_comes(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with site(kernel, tmp_path) as here, listening(PORTS[0]):
        await here.applied(configuration(PORTS[0], extra=BOUND.replace("back0", "later")))
        await here.until(lambda: here.named("vip_bind_failed"))
        run("ip link add later type veth peer back7")
        await here.until(lambda: placed("later") == [f"{VIP}/32"])
        assert len(here.named("vip_bind_failed")) == 1


async def test_a_stop_that_keeps_keeps_it(kernel: FakeIpvs, tmp_path: Path) -> None:
    head = "global_defs {\n  lvs_keep_on_stop\n}"
    async with site(kernel, tmp_path) as here, listening(PORTS[0]):
        await here.applied(configuration(PORTS[0], head=head, extra=BOUND))
        await here.until(lambda: placed() == [f"{VIP}/32"])
        await here.ask(Stop(remove=True))
    assert placed() == [f"{VIP}/32"]


async def test_checks_rest_while_the_address_is_elsewhere(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0], extra=RESTING))
        await rested(here)
        run(f"ip address add {VIP}/32 dev lo")
        await here.until(lambda: here.named("real_server_down"))
        run(f"ip address del {VIP}/32 dev lo")
        await here.until(lambda: len(here.named("checks_rest")) == 3)
        async with listening(PORTS[0]):
            run(f"ip address add {VIP}/32 dev back0")
            await here.until(lambda: here.named("real_server_up"))


async def test_a_group_is_checked_while_one_of_its_addresses_is_here(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    group = "virtual_server_group both {\n  198.51.100.1 80\n  198.51.100.2 80\n}"
    text = configuration(PORTS[0], head=group, extra=RESTING)
    text = text.replace("virtual_server 198.51.100.1 80", "virtual_server group both")
    run("ip address add 198.51.100.2/32 dev lo")
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: here.named("real_server_down"))
        run("ip address del 198.51.100.2/32 dev lo")
        await rested(here)
        async with listening(PORTS[0]):
            run("ip address add 198.51.100.1/32 dev lo")
            await here.until(lambda: here.named("real_server_up"))


async def test_a_mark_has_no_address_to_wait_for(kernel: FakeIpvs, tmp_path: Path) -> None:
    text = configuration(PORTS[0], extra=RESTING)
    async with site(kernel, tmp_path) as here:
        await here.applied(text.replace(f"virtual_server {VIP} 80", "virtual_server fwmark 7"))
        await here.until(lambda: here.named("real_server_down"))
        assert not here.named("checks_rest")


async def test_a_reload_that_no_longer_suspends_lets_checks_go_on(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0], extra=RESTING))
        await rested(here)
        assert not here.named("real_server_down")
        await here.applied(configuration(PORTS[0]))
        await here.until(lambda: here.named("real_server_down"))


async def test_a_reload_that_ends_a_long_rest_tells_of_no_check_as_silent(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    drop = "tcp dport 8091 drop"  # so that the first probe takes longer than a look at all checks
    run(f"nft 'table inet t {{ chain c {{ type filter hook input priority 0; {drop}; }}; }}'")
    text = configuration(PORTS[0]).replace("connect_timeout 0.2", "connect_timeout 0.3")
    async with site(kernel, tmp_path) as here:
        await here.applied(text.replace("lb_kind", f"{RESTING}\nlb_kind"))
        await rested(here)
        assert isinstance(here.director, Director)
        (virtual,) = here.director._estate.virtuals
        (checker,) = virtual.pool.checkers.values()
        checker._found -= 60.0
        await here.applied(text)
        await here.until(lambda: here.named("real_server_down"))
        assert not here.named("check_unknown")
