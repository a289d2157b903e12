"""Our daemon against FRR's vrrpd: election and fail-over both ways, in version 3 of both families.

vrrpd has its VIPs on a macvlan all the time, so the neighbours and the wire say who is master.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, final

import pytest
from support.frr import HAS_FRR, LINK_LOCAL, Frr, Router, frr
from support.stories import Story, Told, hear, names, tell
from support.vrrp_duel import SLACK, TROUBLES, Duel
from support.vrrp_lan import BRIDGE, OURS, PATIENCE, PROMPT, THEIRS, Lan, lan, wait_until
from support.vrrp_net import HERE_LINK
from support.vrrp_watch import check_frames

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.netns import set_sysctls
from lvskeeper.units import format_address, parse_address
from lvskeeper.vrrp.states import Cause
from lvskeeper.vrrp.validate import Received

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not HAS_FRR, reason="needs FRR with vrrpd"),
]

PEER4, PEER6 = parse_address("192.0.2.2"), parse_address(LINK_LOCAL)


@final
class Bout:
    """Our daemon, started by the story, and a vrrpd that runs."""

    def __init__(self, net: Lan, duel: Duel, peer: Frr, daemon: Daemon) -> None:
        self.lan: Final = net
        self.duel: Final = duel
        self.peer: Final = peer
        self.daemon: Final = daemon

    def expect(self, host: str, cause: Cause | None, *, since: float = 0.0) -> None:
        """Wait until *host* is master, our last transition since a mark being for *cause*."""
        ours, theirs = ("MASTER", "Backup") if host == OURS else ("BACKUP", "Master")
        if cause is not None:
            self.daemon.wait_for(
                "vrrp_state_changed", since=since, timeout=PATIENCE, new=ours, cause=cause.value
            )
        if host == THEIRS or self.peer.show():
            self.peer.wait_for(theirs)
        if not self.lan.neighbour(self.duel.vip):
            self.lan.get_to_know(self.duel.vip)
        wait_until(
            lambda: self.lan.neighbour(self.duel.vip) == host,
            lambda: f"the third host was not told of {host}: {self.daemon.told}",
        )

    def expect_gap(self, old: str, *, after: float, expected: float) -> None:
        """Check the time from the last advert of *old* to the first one of the other."""
        new = THEIRS if old == OURS else OURS
        wait_until(lambda: any(at >= after for at in self._adverts(new)), f"no adverts of {new}")
        first = next(at for at in self._adverts(new) if at >= after)
        last = max(at for at in self._adverts(old) if at < first)
        assert expected - 0.01 < first - last < 2 * expected + SLACK, first - last

    def _adverts(self, host: str) -> list[float]:
        return [
            frame.at for frame in self.lan.wire.settled()
            if frame.host == host
            and isinstance(frame.what, Received) and frame.what.vrid == self.duel.vrid
        ]  # fmt: skip

    def check(self) -> None:
        """Check what holds in every story, once it is over."""
        assert self.daemon.noise == ""
        assert self.daemon.events(*TROUBLES) == []
        ours = next(mac for mac, host in self.lan.macs.items() if host == OURS)
        check_frames(
            self.lan.wire.settled(), lambda host, _: (ours if host == OURS else self.duel.mac, 255)
        )


@contextmanager
def bout(duel: Duel, folder: Path) -> Iterator[Bout]:
    file = folder / "lvskeeper.conf"
    file.write_text(PROMPT + duel.our_side())
    vips = tuple(format_address(vip) for vip in duel.vips)
    router = Router(duel.vrid, vips, duel.theirs, duel.interval)
    # Not below pytest's folder, where FRR's user may not go
    place = Path(mkdtemp())
    try:
        with (
            lan() as net,
            frr(net.theirs, place, router) as peer,
            Daemon(net.ours, file, folder / "run") as daemon,
        ):
            # vrrpd announces once, which a host does not heed within a second of the last time
            set_sysctls(net.third.name, {f"ipv4/neigh/{BRIDGE}/locktime": "0"})
            made = Bout(net, duel, peer, daemon)
            yield made
            made.check()
    finally:
        shutil.rmtree(place)


def _we_are_stronger(duel: Duel, folder: Path) -> None:
    """We preempt, resign, preempt again, and are killed."""
    with bout(duel, folder) as it:
        it.peer.wait_for("Master")
        it.daemon.start()
        it.expect(OURS, Cause.SILENCE)
        (lower,) = it.daemon.events("vrrp_lower_heard", state="BACKUP")
        assert (lower.fields["peer"], lower.fields["peer_priority"]) == (
            format_address(duel.peer), 100,
        )  # fmt: skip
        now = time.time()
        assert it.daemon.stop() == 0
        it.expect(THEIRS, None)
        it.expect_gap(OURS, after=now, expected=duel.skew(100))
        since = time.monotonic()
        it.daemon.start()
        it.expect(OURS, Cause.SILENCE, since=since)
        now = time.time()
        it.daemon.kill()
        it.expect(THEIRS, None)
        it.expect_gap(OURS, after=now, expected=duel.down(100))


def _they_are_stronger(duel: Duel, folder: Path) -> None:
    """They end in order, preempt, and are killed; we have the addresses meanwhile."""
    with bout(duel, folder) as it:
        it.peer.wait_for("Master")
        it.daemon.start()
        it.daemon.wait_for("vrrp_master_learned", master=format_address(duel.peer), priority=200)
        now, since = time.time(), time.monotonic()
        it.peer.terminate()
        it.expect(OURS, Cause.PRIORITY_ZERO, since=since)
        it.expect_gap(THEIRS, after=now, expected=duel.skew(100))
        it.peer.start()
        it.expect(THEIRS, Cause.HIGHER_PRIORITY, since=since)
        now, since = time.time(), time.monotonic()
        it.peer.kill()
        it.expect(OURS, Cause.SILENCE, since=since)
        it.expect_gap(THEIRS, after=now, expected=duel.down(100))


def four_we_are_stronger(folder: Path) -> None:
    _we_are_stronger(Duel("four", 5, 200, 100, peer=PEER4), folder)


def six_we_are_stronger(folder: Path) -> None:
    _we_are_stronger(Duel("six", 5, 200, 100, source=HERE_LINK, peer=PEER6), folder)


def four_they_are_stronger(folder: Path) -> None:
    _they_are_stronger(Duel("four", 5, 100, 200, peer=PEER4), folder)


def six_they_are_stronger(folder: Path) -> None:
    _they_are_stronger(Duel("six", 5, 100, 200, source=HERE_LINK, peer=PEER6), folder)


STORIES: Final[tuple[Story, ...]] = (
    four_we_are_stronger, six_we_are_stronger, four_they_are_stronger, six_they_are_stronger,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
