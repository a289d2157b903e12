"""Interfaces that come, go, flap or lose their address: the instance has a reason, and heals."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.stories import Story, Told, hear, names, tell
from support.vrrp_lan import OURS
from support.vrrp_net import DEVICE
from support.vrrp_site import VIP, Site, instance, site

pytestmark = pytest.mark.root

LATE: Final = "late0"


def interface_comes_and_goes(folder: Path) -> None:
    """Missing at the start it appears, is deleted, and is made anew."""
    text = f"global_defs {{\n dynamic_interfaces\n}}\n{instance(device=LATE)}"
    with site(folder, text) as it:
        it.daemon.start()
        it.faults(f"interface missing ({LATE}), no source address")
        _make_and_wait(it)
        since = time.monotonic()
        it.lan.ours.ip(f"link del {LATE}")
        it.faults(f"interface missing ({LATE}), no source address", since=since)
        it.wait_for_holders()
        _make_and_wait(it)
        assert it.daemon.events("vip_refused", "vrrp_socket_failed", "role_died") == []


def _make_and_wait(it: Site) -> None:
    since = time.monotonic()
    it.lan.ours.ip(
        f"link add {LATE} type veth peer late1", "link set late1 up", f"link set {LATE} up",
        f"addr add 198.51.100.1/24 dev {LATE}",
    )  # fmt: skip
    it.wait("MASTER", since=since)
    it.wait_for_holders(OURS)
    assert VIP in it.addresses(LATE)
    it.daemon.ask_for_reports()
    told = it.daemon.wait_for("vrrp_report", since=since)
    assert told.fields["sent"] > 0
    assert told.fields["announced"].startswith(f"{VIP} "), told


def flapping_is_damped(folder: Path) -> None:
    """The first failure heals at once; then a link has to be up for 1 s, for 2 s, and so on."""
    with site(folder, instance()) as it:
        it.daemon.start()
        it.wait("MASTER")
        for flaps, hold in ((0, 0.0), (1, 1.0), (2, 2.0)):
            since = time.monotonic()
            it.lan.ours.ip(f"link set {DEVICE} down")
            down = it.daemon.wait_for("link_changed", since=since, change="down")
            assert down.fields["flaps"] == flaps
            it.lan.ours.ip(f"link set {DEVICE} up")
            up = it.daemon.wait_for("link_changed", since=since, change="up")
            held = it.daemon.events("link_changed", since=since, change="held down")
            assert len(held) == bool(hold)
            if held:
                assert hold - 0.1 < up.at - held[0].at < hold + 0.5
            it.faults("none", since=since)
            it.wait("MASTER", since=since)
            it.wait_for_holders(OURS)


def no_source_address(folder: Path) -> None:
    """Without an address of its own the instance cannot speak; another address will do."""
    with site(folder, instance()) as it:
        it.daemon.start()
        it.wait("MASTER")
        now, since = time.time(), time.monotonic()
        # the second one is a secondary of the first, and goes with it
        it.lan.ours.ip(f"addr del 192.0.2.1/24 dev {DEVICE}")
        it.faults("no source address", since=since)
        it.wait("FAULT", since=since)
        it.wait_for_holders()
        it.lan.ours.ip(f"addr add 192.0.2.21/24 dev {DEVICE}")
        it.faults("none", since=since)
        it.wait("MASTER", since=since)
        it.wait_for_holders(OURS)
        assert it.priorities(since=now)[-1] == 100


STORIES: Final[tuple[Story, ...]] = (
    interface_comes_and_goes, flapping_is_damped, no_source_address,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
