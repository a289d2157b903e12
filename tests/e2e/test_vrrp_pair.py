"""Two daemons of ours as a pair: what stands still, dies alone, hears one way, or signs."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.stories import Story, Told, hear, names, tell
from support.vrrp_lan import OURS, THEIRS, wait_until
from support.vrrp_site import VIP, Site, instance, site
from support.vrrp_watch import check_frames

pytestmark = pytest.mark.root

STRONG, WEAK = instance(priority=200), instance(priority=100)


def _start_both(it: Site) -> None:
    it.daemon.start()
    it.wait("MASTER")
    it.peer.start()
    it.wait("BACKUP", who=THEIRS)
    it.wait_for_holders(OURS)


def frozen_as_a_whole(folder: Path) -> None:
    """All processes of the master stand still; thawed it announces, and the backup yields."""
    with site(folder, STRONG, WEAK) as it:
        _start_both(it)
        since = time.monotonic()
        frozen = it.daemon.freeze()
        it.wait("MASTER", who=THEIRS, since=since)
        it.wait_for_holders(OURS, THEIRS)
        now, since = time.time(), time.monotonic()
        it.daemon.thaw(frozen)
        it.daemon.wait_for("vrrp_late", since=since)
        it.wait("BACKUP", who=THEIRS, since=since)
        it.wait_for_holders(OURS)
        wait_until(lambda: len(it.announcements(since=now)) >= 5, "it is not announced")
        # Each announced once before it had heard the other: what counts is who spoke last
        assert it.announcements(since=now)[-1] > it.announcements(since=0, host=THEIRS)[-1]
        assert it.daemon.events("vrrp_state_changed", "role_died", since=since) == []


def router_dies_alone(folder: Path) -> None:
    """The supervisor starts another router, which takes back what is its own."""
    with site(folder, STRONG, WEAK) as it:
        _start_both(it)
        since = time.monotonic()
        it.daemon.freeze(router := it.daemon.role("router"))
        it.wait("MASTER", who=THEIRS, since=since)
        # Killed when the other one rules already, it has left its address behind
        it.wait_for_holders(OURS, THEIRS)
        it.daemon.end(router)
        it.daemon.wait_for("role_died", since=since, process="router")
        it.daemon.wait_for("vips_released", since=since, instance="earlier run")
        it.daemon.wait_for("role_revived", since=since)
        it.wait("MASTER", since=since)
        it.wait("BACKUP", who=THEIRS, since=since)
        it.wait_for_holders(OURS)
        assert it.daemon.role("router") != router
        assert it.daemon.stop() == 0
        it.wait_for_holders(THEIRS)


def supervisor_dies_alone(folder: Path) -> None:
    """Its router has nobody left to obey: it resigns as at a stop."""
    with site(folder, STRONG, WEAK) as it:
        _start_both(it)
        since = time.monotonic()
        it.daemon.kill_supervisor()
        it.peer.wait_for("vrrp_peer_resigned", since=since, obeyed=True)
        it.wait("MASTER", who=THEIRS, since=since)
        it.wait_for_holders(THEIRS)


def heard_one_way(folder: Path) -> None:
    """The backup is deaf: the master tells who contends, who is to yield, and since when."""
    with site(folder, STRONG, WEAK) as it:
        _start_both(it)
        since = time.monotonic()
        it.lan.deafen(it.lan.theirs)
        began = it.daemon.wait_for("vrrp_contention_began", since=since)
        assert began.fields["stronger"] == "192.0.2.1 (priority 200, every 0.1 s)"
        assert began.fields["weaker"] == "192.0.2.2 (priority 100, every 0.1 s)"
        assert began.fields["why"] == "higher priority"
        it.wait_for_holders(OURS, THEIRS)
        asked = it.daemon.ask_for_reports()
        why = it.daemon.wait_for("vrrp_report", since=asked).fields["why"]
        assert re.search(
            r"contention for [\d.]+ m?s between 192\.0\.2\.1 .* and 192\.0\.2\.2 .*: "
            r"the latter is to yield \(higher priority\)", why,
        ), why  # fmt: skip
        it.lan.heal(it.lan.theirs)
        ended = it.daemon.wait_for("vrrp_contention_ended", since=since)
        lasted = re.fullmatch(r"([\d.]+) (m?s)", ended.fields["lasted"])
        assert lasted, ended
        seconds = float(lasted[1]) * (0.001 if lasted[2] == "ms" else 1)
        assert abs(seconds - (ended.at - began.at)) < 0.1
        it.wait_for_holders(OURS)
        assert len(it.daemon.events("vrrp_contention_began")) == 1
        assert it.daemon.events("vrrp_state_changed", since=since) == []


def signed_with_hmac(folder: Path) -> None:
    """Adverts of both versions are signed; who has another key is not heard, and told of once."""
    right, wrong = ("hex:" + digit * 64 for digit in "ab")

    def both(key: str, priority: int, *more: str) -> str:
        lines = ("auth_hmac {", f"  key 1 {key}", "}")
        second = instance("two", *lines, *more, vrid=6, version=2, interval=1.0,
                          priority=priority, vips=("192.0.2.106",))  # fmt: skip
        return instance("one", *lines, *more, priority=priority) + second

    with site(folder, both(right, 200), both(right, 100)) as it:
        for daemon in (it.daemon, it.peer):
            daemon.start()
        for name, vip in (("one", VIP), ("two", "192.0.2.106")):
            it.wait("MASTER", name=name)
            it.wait_for_holders(OURS, vip=vip)
        since = time.monotonic()
        it.daemon.kill()
        for name in ("one", "two"):
            it.wait("MASTER", name=name, who=THEIRS, since=since)
        it.daemon.start()
        for name in ("one", "two"):
            it.wait("MASTER", name=name, since=since)
            it.wait("BACKUP", name=name, who=THEIRS, since=since)
        rejected = "vrrp_advert_rejected"
        assert it.daemon.events(rejected) == it.peer.events(rejected) == []
        macs = {host: mac for mac, host in it.lan.macs.items()}
        check_frames(it.lan.wire.settled(), lambda host, _: (macs[host], 255), trailers=True)
        assert it.peer.stop() == 0
        it.peer.file.write_text(both(wrong, 100))
        since = time.monotonic()
        it.peer.start()
        for name in ("one", "two"):
            it.wait("MASTER", name=name, who=THEIRS, since=since)
            told = it.daemon.wait_for(rejected, since=since, instance=name)
            assert "hmac" in told.fields["kind"].lower(), told
        assert len(it.daemon.events(rejected)) == 2


STORIES: Final[tuple[Story, ...]] = (
    frozen_as_a_whole, router_dies_alone, supervisor_dies_alone, heard_one_way, signed_with_hmac,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
