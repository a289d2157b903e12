"""The daemon and those who take its addresses away, or find what it left: stories of real pairs."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.stories import Story, Told, hear, names, tell
from support.vrrp_lan import OURS, wait_until
from support.vrrp_net import DEVICE
from support.vrrp_site import VIP, instance, site

pytestmark = pytest.mark.root

FENCE: Final = 2.0


def vip_deleted_by_hand(folder: Path) -> None:
    """It is back and announced within a second, and the log names the process."""
    with site(folder, instance()) as it:
        it.daemon.start()
        it.wait("MASTER")
        it.wait_for_holders(OURS)
        hand = it.lan.ours.popen(["ip", "-batch", "-"], stdin=subprocess.PIPE)
        assert hand.stdin is not None
        since, now = time.monotonic(), time.time()
        hand.stdin.write(f"address del {VIP}/32 dev {DEVICE}\n")
        hand.stdin.flush()
        lost = it.daemon.wait_for("vip_lost", since=since)
        assert lost.fields["lost"] == f"{VIP}/32 dev {DEVICE}"
        assert (lost.fields["by"], lost.fields["count"]) == (f"process {hand.pid} (ip)", 1)
        assert it.wait_for_holders(OURS) - since < 1
        wait_until(lambda: len(it.announcements(since=now)) >= 5, "it is not announced")
        assert it.announcements(since=now)[0] - now < 1
        assert it.daemon.events("vrrp_state_changed", since=since) == []


def all_flushed(folder: Path) -> None:
    """Every address of the interface goes, then the link; it heals when the own address is back."""
    with site(folder, instance()) as it:
        it.daemon.start()
        it.wait("MASTER")
        it.wait_for_holders(OURS)
        since = time.monotonic()
        it.lan.ours.run(["ip", "address", "flush", "dev", DEVICE])
        it.faults("no source address", since=since)
        it.lan.ours.ip(f"link set {DEVICE} down")
        it.faults(f"interface down ({DEVICE}), no source address", since=since)
        it.wait_for_holders()
        since, now = time.monotonic(), time.time()
        it.lan.ours.ip(f"link set {DEVICE} up", f"addr add 192.0.2.1/24 dev {DEVICE}")
        it.faults("none", since=since)
        it.wait("MASTER", since=since)
        it.wait_for_holders(OURS)
        wait_until(lambda: bool(it.announcements(since=now)), "it is not announced")
        assert it.priorities(since=now)[-1] == 100


def same_subnet_first(folder: Path) -> None:
    """A VIP that stands first in its network takes no other address along when it goes."""
    long, short = f"{VIP}/24", "198.51.100.100"
    text = instance("one", "promote_secondaries", vips=(long, short))
    with site(folder, text) as it:
        it.lan.ours.run(["ip", "-4", "address", "flush", "dev", DEVICE])
        it.lan.ours.ip(f"addr add 203.0.113.1/24 dev {DEVICE}")
        it.daemon.start()
        it.wait("MASTER")
        it.wait_for_holders(OURS)
        it.lan.ours.ip(
            *(f"addr add {own}/24 dev {DEVICE}" for own in ("192.0.2.7", "198.51.100.7"))
        )
        assert it.addresses()["192.0.2.7"].get("secondary"), it.addresses()
        assert it.daemon.stop() == 0
        left = it.addresses()
        assert {"203.0.113.1", "192.0.2.7", "198.51.100.7"} <= left.keys()
        assert not {VIP, short} & left.keys()
        assert not left["192.0.2.7"].get("secondary")


def leftovers(folder: Path) -> None:
    """What an earlier router left is gone before the instance takes part."""
    with site(folder, instance(interval=1.0)) as it:
        it.lan.ours.ip(f"addr add {VIP}/32 dev {DEVICE}")
        it.daemon.start()
        (gone,) = it.daemon.events("vips_released", instance="earlier run")
        assert gone.fields["addresses"] == f"{VIP}/32 dev {DEVICE}"
        assert gone.at < it.wait("BACKUP").at
        assert VIP not in it.addresses()
        it.wait("MASTER")
        it.wait_for_holders(OURS)
        since = time.monotonic()
        it.daemon.kill()
        assert VIP in it.addresses()
        it.daemon.start()
        it.daemon.wait_for("vips_released", since=since, instance="earlier run")
        assert VIP not in it.addresses()


def fence(folder: Path) -> None:
    """The kernel itself removes a fenced VIP soon after all our processes died, not before."""
    text = f"global_defs {{\n vrrp_fence {FENCE:g}\n}}\n{instance()}"
    with site(folder, text) as it:
        it.daemon.start()
        it.wait("MASTER")
        began = it.wait_for_holders(OURS)
        while time.monotonic() < began + 1.5 * FENCE:
            assert 0 < it.addresses()[VIP]["valid_life_time"] <= FENCE
            time.sleep(0.1)
        assert it.daemon.events("vip_lost") == []
        killed = time.monotonic()
        it.daemon.kill()
        assert VIP in it.addresses()
        assert it.wait_for_holders() - killed < FENCE + 1


def announced_aside(folder: Path) -> None:
    """A VMAC from which no advert comes is announced now and then, so that switches remember it."""
    more = (
        "use_vmac", "vmac_xmit_base",
        "garp_master_repeat 1", "garp_master_delay 0", "garp_extra_if 1",
    )  # fmt: skip
    with site(folder, instance("one", *more)) as it:
        now = time.time()
        it.daemon.start()
        it.wait("MASTER")
        wait_until(lambda: len(it.announcements(since=now)) >= 4, "it falls silent")
        times = it.announcements(since=now)
        assert times[-1] - times[1] > 1.5, "they come one after the other"


STORIES: Final[tuple[Story, ...]] = (
    vip_deleted_by_hand, all_flushed, same_subnet_first, leftovers, fence, announced_aside,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
