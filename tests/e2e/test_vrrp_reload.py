"""Reloads of a daemon that is master: what changed changes in place, and the rest does not move."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from support.stories import Story, Told, hear, names, tell
from support.vrrp_lan import OURS, PROMPT, wait_until
from support.vrrp_net import DEVICE
from support.vrrp_site import VIP, Site, instance, site

pytestmark = pytest.mark.root

OTHER: Final = "192.0.2.106"


def _start(it: Site) -> None:
    it.daemon.start()
    it.wait("MASTER")
    it.wait_for_holders(OURS)


def broken_file(folder: Path) -> None:
    """It changes nothing; the report has the place, and the router goes on."""
    with site(folder, instance()) as it:

        def heard(since: float) -> bool:
            return len(it.priorities(since=since)) > 5

        _start(it)
        for text in (instance().replace("priority 100", "priority"), "vrrp_instance one {\n"):
            it.daemon.file.write_text(PROMPT + text)
            now, since = time.time(), it.daemon.reload()
            refused = it.daemon.wait_for("reload_refused", since=since)
            assert refused.fields["first"], refused
            wait_until(partial(heard, now), "no adverts")
            assert set(it.priorities(since=now)) == {100}
            assert VIP in it.addresses()
            assert not it.daemon.events("vrrp_state_changed", "vips_held", since=since)
        assert f"{it.daemon.file}:" in it.daemon.take_noise()


def values_change_in_place(folder: Path) -> None:
    """Priority, VIPs, routes and name are others, without a transition or a pause."""
    with site(folder, instance()) as it:
        _start(it)
        now = time.time()
        since = it.reload(instance("uno", priority=150, vips=(VIP, OTHER)))
        it.wait_for_holders(OURS, vip=OTHER)
        wait_until(lambda: 150 in it.priorities(since=now), "the priority stays")
        wait_until(lambda: bool(it.announcements(since=now, vip=OTHER)), "not announced")
        assert VIP in it.addresses()
        since_second = it.reload(instance("uno", priority=150, vips=(OTHER,)))
        it.wait_for_holders(vip=VIP)
        assert OTHER in it.addresses()
        assert it.daemon.events("vrrp_state_changed", "vip_lost", since=since) == []
        (held,) = it.daemon.events("vips_held", since=since_second)
        assert held.fields["instance"] == "uno"
        adverts = [
            frame.at for frame in it.lan.wire.settled()
            if frame.host == OURS and frame.at > now and frame.data[23] == 112
        ]  # fmt: skip
        assert 0 not in it.priorities(since=now)
        gaps = [later - first for first, later in pairwise(adverts)]
        assert max(gaps) < 0.3, gaps


def instances_come_and_go(folder: Path) -> None:
    """A removed instance resigns and runs its notify_deleted; the other one does not notice."""
    trace = folder / "deleted"
    two = instance(
        "two", f'notify_deleted "/bin/touch {trace}"', 'notify_stop "/bin/false"',
        vrid=6, vips=(OTHER,),
    )  # fmt: skip
    with site(folder, instance() + two) as it:
        _start(it)
        it.wait("MASTER", name="two")
        it.wait_for_holders(OURS, vip=OTHER)
        now = time.time()
        since = it.reload(instance())
        it.wait("INIT", name="two", since=since)
        it.wait_for_holders(vip=OTHER)
        wait_until(trace.exists, "notify_deleted did not run")
        assert it.priorities(since=now, vrid=6)[-1] == 0
        assert it.daemon.events("vrrp_state_changed", since=since, instance="one") == []
        since = it.reload(instance() + two)
        it.wait("MASTER", name="two", since=since)
        it.wait_for_holders(OURS, vip=OTHER)
        assert it.daemon.events("vrrp_state_changed", since=since, instance="one") == []
        assert set(it.addresses()) >= {VIP, OTHER}, DEVICE


STORIES: Final[tuple[Story, ...]] = (
    broken_file, values_change_in_place, instances_come_and_go,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
