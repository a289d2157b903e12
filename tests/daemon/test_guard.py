"""What the router role does to the addresses, devices and tables of a real kernel, or lets be."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from support.fullnat_net import namespace
from support.stories import Story, Told, hear, names, tell
from support.vrrp_lan import Announced, Wire, lan, wait_until
from support.vrrp_net import DEVICE

from lvskeeper.daemon.router import MAX_FILES, UPKEEP_INTERVAL
from lvskeeper.daemon.vip_guard import ROUTE_PAUSE
from lvskeeper.kernel.nft import SEARCH_PATH
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

OWN: Final = "192.0.2.1"
"""The machine's own address on :data:`DEVICE`."""
VIP: Final = "192.0.2.100"
SECOND: Final = "192.0.2.101"
MOVING: Final = "192.0.2.102"

NEWS: Final = 8_000
"""Twice as many changes are more than a router that stands still can be told of."""
_ETH_P_ARP: Final = 0x0806


def instance(name: str, vrid: int, vips: tuple[str, ...], *more: str, priority: int = 100) -> str:
    body = "\n  ".join([
        f"interface {DEVICE}", f"virtual_router_id {vrid}", f"priority {priority}", "version 3",
        "advert_int 0.1", *more, "virtual_ipaddress {", *vips, "}",
    ])  # fmt: skip
    return f"vrrp_instance {name} {{\n  {body}\n}}\n"


class Machine:
    def __init__(self, host: Namespace, daemon: Daemon, wire: Wire) -> None:
        self.host = host
        self.daemon = daemon
        self.wire = wire

    def addresses(self) -> dict[str, list[str]]:
        """Return the IPv4 addresses of each device."""
        shown = json.loads(self.host.run(["ip", "-4", "-j", "address", "show"]).stdout)
        return {
            link["ifname"]: sorted(each["local"] for each in link["addr_info"]) for link in shown
        }

    def has(self, *addresses: str, device: str = DEVICE) -> None:
        """Wait until *device* has *addresses* and no others."""
        wait_until(
            lambda: self.addresses().get(device, []) == sorted(addresses),
            lambda: f"{device} of {self.addresses()}, not {addresses}\n{self.daemon.told}",
        )

    def go_on(self, text: str) -> float:
        """Reload with *text*; return the moment before."""
        self.daemon.file.write_text(text)
        mark = self.daemon.reload()
        self.daemon.wait_for("reload_applied", since=mark)
        return mark

    def start_anew(self, text: str) -> None:
        """Kill the whole daemon and start it with *text*."""
        self.daemon.kill()
        self.daemon.file.write_text(text)
        self.daemon.start()

    def devices(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.host.run(["ip", "-j", "link"]).stdout)}

    def is_up(self, device: str) -> bool:
        (link,) = json.loads(self.host.run(["ip", "-j", "link", "show", "dev", device]).stdout)
        return "UP" in link["flags"]

    def tables(self) -> str:
        return self.host.run(["nft", "list", "tables"]).stdout


@contextmanager
def machine(folder: Path, text: str) -> Iterator[Machine]:
    """Yield a machine whose daemon runs with *text*."""
    with lan() as net, Daemon(net.ours, folder / "one.conf", folder / "run") as daemon:
        # Only the first address: the second one is there for others.
        net.ours.run(["ip", "-4", "address", "flush", "dev", DEVICE])
        net.ours.ip(f"addr add {OWN}/24 dev {DEVICE}")
        daemon.file.write_text(text)
        daemon.start()
        made = Machine(net.ours, daemon, net.wire)
        yield made
        assert daemon.noise == ""


def address_moved(folder: Path) -> None:
    """A VIP that a reload gives to another instance goes with that one, in both directions."""
    first = instance("one", 1, (VIP, MOVING)) + instance("two", 2, (SECOND,))
    then = instance("one", 1, (VIP,)) + instance("two", 2, (SECOND, MOVING))
    alone = instance("one", 1, (VIP,))
    with machine(folder, first) as it:
        it.has(OWN, VIP, SECOND, MOVING)
        it.go_on(then)
        it.has(OWN, VIP, SECOND, MOVING)
        it.go_on(alone)
        it.has(OWN, VIP)
        it.go_on(then)
        it.has(OWN, VIP, SECOND, MOVING)
        it.go_on(first)
        it.go_on(alone.replace(VIP, SECOND))
        it.has(OWN, SECOND)
        assert it.daemon.stop() == 0
        it.has(OWN)


def found_there(folder: Path) -> None:
    """A VIP that stood on a backup before it became master is gone after a clean stop."""
    text = instance("one", 1, (VIP,), "track_script {\n check\n}")
    script = "vrrp_script check {\n script /bin/false\n interval 1\n}\n"
    with machine(folder, script + text) as it:
        it.daemon.wait_for("vrrp_state_changed", new="FAULT")
        it.host.ip(f"addr add {VIP}/32 dev {DEVICE}")
        it.go_on(script.replace("false", "true") + text)
        it.daemon.wait_for("vrrp_state_changed", new="MASTER")
        assert it.daemon.stop() == 0
        it.has(OWN)


def owner(folder: Path) -> None:
    """An owner of the machine's own address speaks from it, and leaves it alone in each case."""
    text = f"global_defs {{\n vrrp_fence 2\n}}\n{instance('one', 1, (f'{OWN}/24',), priority=255)}"
    with machine(folder, text) as it:
        it.daemon.wait_for("vrrp_state_changed", new="MASTER")
        since = time.monotonic()
        it.start_anew(text)
        it.daemon.wait_for("vrrp_state_changed", since=since, new="MASTER")
        it.has(OWN)
        shown = it.host.run(["ip", "-4", "address", "show", "dev", DEVICE]).stdout
        assert "valid_lft forever" in shown, shown
        assert it.daemon.events("vips_released") == []
        assert it.daemon.stop() == 0
        it.has(OWN)


def renamed(folder: Path) -> None:
    """Nothing of ours is left on an interface that got another name, nor do adverts leave there."""
    with machine(
        folder, f"global_defs {{\n dynamic_interfaces\n}}\n{instance('one', 1, (VIP,))}"
    ) as it:
        it.has(OWN, VIP)
        since = time.monotonic()
        for step in ("down", "name other"):
            it.host.ip(f"link set {DEVICE} {step}")
        it.host.ip("link set other up")
        it.daemon.wait_for("vrrp_state_changed", since=since, new="FAULT")
        it.has(OWN, device="other")
        it.host.ip(f"link add {DEVICE} type veth peer name far", "link set far up")
        it.host.ip(f"link set {DEVICE} up", f"addr add 192.0.2.9/24 dev {DEVICE}")
        it.has("192.0.2.9", VIP)
        ears = it.host.popen(
            ["timeout", "30", "tshark", "-c", "1", "-i", "far", "-f", "ip proto 112"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        heard, _ = ears.communicate()
        assert "192.0.2.9" in heard, heard
        assert it.daemon.stop() == 0
        it.has("192.0.2.9")


def vmac_switched_off(folder: Path) -> None:
    """A VMAC that somebody switches off is on again within a second, with its addresses."""
    text = instance("one", 1, (VIP,), "use_vmac") + instance("six", 2, ("fe80::7",), "use_vmac")
    with machine(folder, text) as it:
        it.has(VIP, device="vrrp.1")
        it.daemon.wait_for("vrrp_state_changed", instance="six", new="MASTER")
        since = time.monotonic()
        it.host.ip("link set vrrp.1 down", "link set vrrp6.2 down")
        wait_until(lambda: it.is_up("vrrp.1") and it.is_up("vrrp6.2"), "they stay down")
        assert time.monotonic() - since < 2
        it.has(VIP, device="vrrp.1")
        it.daemon.wait_for("vrrp_state_changed", since=since, instance="six", new="MASTER")
        assert it.daemon.stop() == 0


def vmac_follows_its_base(folder: Path) -> None:
    """A VMAC whose base was too small for IPv6 for a while is as big as that again, and speaks."""
    text = instance("one", 1, (VIP,), "use_vmac") + instance("six", 2, ("fe80::7",), "use_vmac")
    devices = (DEVICE, "vrrp.1", "vrrp6.2")
    with machine(folder, text) as it:

        def has_size(wanted: int) -> bool:
            return sizes() == [wanted] * len(devices)

        def sizes() -> list[int]:
            links = json.loads(it.host.run(["ip", "-j", "link"]).stdout)
            sizes = {link["ifname"]: link["mtu"] for link in links}
            return [sizes[device] for device in devices]

        it.has(VIP, device="vrrp.1")
        it.daemon.wait_for("vrrp_state_changed", instance="six", new="MASTER")
        for size in (1000, 1500, 1400, 1450):
            since = time.monotonic()
            it.host.ip(f"link set {DEVICE} mtu {size}")
            if size == 1000:
                it.daemon.wait_for("vrrp_state_changed", since=since, instance="six", new="FAULT")
            wait_until(partial(has_size, size), lambda: str(sizes()))
        it.daemon.wait_for("vrrp_state_changed", instance="six", old="FAULT")
        shown = ["ip", "-6", "address", "show", "dev", "vrrp6.2"]
        wait_until(lambda: "fe80::7/" in it.host.run(shown).stdout, "it stays away")
        assert it.daemon.stop() == 0


def left_by_the_killed(folder: Path) -> None:
    """Devices and the table of a killed router that the next one does not need are gone."""
    text = instance("one", 1, (VIP,), "use_vmac", "no_accept")
    with machine(folder, text) as it:
        it.has(VIP, device="vrrp.1")
        assert "lvskeeper_vrrp" in it.tables()
        it.start_anew(instance("one", 1, (VIP,)))
        it.has(OWN, VIP)
        assert "vrrp.1" not in it.devices()
        assert "lvskeeper_vrrp" not in it.tables()
        assert it.daemon.stop() == 0


def stopped_while_dead(folder: Path) -> None:
    """A stop right after the death of the router leaves nothing of it in the kernel."""
    text = instance("one", 1, (VIP,), "no_accept") + instance("two", 2, (SECOND,), "use_vmac")
    with machine(folder, text) as it:
        it.has(OWN, VIP)
        it.has(SECOND, device="vrrp.2")
        os.kill(it.daemon.role("router"), signal.SIGKILL)
        it.daemon.wait_for("role_died")
        assert it.daemon.stop() == 0
        it.has(OWN)
        assert "vrrp.2" not in it.devices()
        assert "lvskeeper_vrrp" not in it.tables()
        assert it.daemon.events("role_revived", "stop_incomplete") == []


def vmac_given_up(folder: Path) -> None:
    """A reload that takes the VMAC away moves the VIP, without a word of a loss."""
    with machine(folder, instance("one", 1, (VIP,), "use_vmac")) as it:
        it.has(VIP, device="vrrp.1")
        since = it.go_on(instance("one", 1, (VIP,)))
        it.has(OWN, VIP)
        assert it.daemon.events("vip_lost", "vip_refused", since=since) == []
        assert it.daemon.stop() == 0


def no_room(folder: Path) -> None:
    """A full runtime directory is told; it keeps no master from its addresses."""
    run_dir = folder / "run"
    run_dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", run_dir], check=True)
    try:
        with machine(folder, instance("one", 1, (VIP,))) as it:
            it.has(OWN, VIP)
            fill = ["dd", "if=/dev/zero", f"of={run_dir}/fill"]
            assert b"No space" in subprocess.run(fill, check=False, capture_output=True).stderr
            since = it.go_on(instance("one", 1, (VIP, SECOND)))
            it.has(OWN, VIP, SECOND)
            (told,) = it.daemon.events("upkeep_failed", since=since, role="router")
            assert "No space left" in told.fields["message"]
            assert it.daemon.events("role_died") == []
            assert it.daemon.stop() == 0
            it.has(OWN)
    finally:
        subprocess.run(["umount", "-l", run_dir], check=True)


def untracked(folder: Path) -> None:
    """A VIP with no_track that is deleted by hand stays away."""
    text = instance("one", 1, (f"{VIP} no_track", SECOND))
    with machine(folder, text) as it:
        it.has(OWN, VIP, SECOND)
        it.host.ip(f"addr del {VIP}/32 dev {DEVICE}")
        until = time.monotonic() + 1.5 * UPKEEP_INTERVAL
        while time.monotonic() < until:
            assert VIP not in it.addresses()[DEVICE]
            time.sleep(0.1)
        assert it.daemon.stop() == 0


def refused_for_good(folder: Path) -> None:
    """What the kernel does not take is tried again and again without a word to the neighbours."""
    vip, there, refused = parse_address(VIP), "2001:db8:1::6", "2001:db8:1::7"
    more = f"virtual_ipaddress_excluded {{\n {there}/64\n {refused}/64\n}}"
    once = ("garp_master_repeat 1", "garp_master_delay 0")

    def quiet(it: Machine) -> bool:
        """Whether VIP is not announced while the other address was tried the second time."""
        mark = len(it.wire.frames) + 12 * UPKEEP_INTERVAL
        wait_until(lambda: len(it.wire.frames) > mark + 12 * UPKEEP_INTERVAL, "it is silent")
        heard = (frame.what for frame in it.wire.settled()[int(mark) :])
        return not any(isinstance(what, Announced) and what.address == vip for what in heard)

    with machine(folder, instance("idle", 9, ())) as it:
        # Of IPv6 the kernel has no address twice on a device, whatever the prefix lengths are.
        it.host.ip(f"addr add {there}/128 dev {DEVICE} nodad")
        it.go_on(instance("one", 1, (VIP,), *once, more))
        it.daemon.wait_for("vrrp_state_changed", instance="one", new="MASTER")
        assert quiet(it)
        it.host.run(["sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.disable_ipv6=1"])
        it.daemon.wait_for("vip_refused")
        assert quiet(it)
        it.host.run(["sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.disable_ipv6=0"])
        shown = ["ip", "-6", "address", "show", "dev", DEVICE]
        wait_until(lambda: f"{refused}/64" in it.host.run(shown).stdout, "it stays away")
        assert it.daemon.stop() == 0


def too_small_for_ipv6(folder: Path) -> None:
    """An interface that had no IPv6 for a while hears the adverts of IPv6 again afterwards."""
    shown = ["ip", "-6", "maddress", "show", "dev", DEVICE]
    with machine(folder, instance("six", 6, ("fe80::7",))) as it:
        it.daemon.wait_for("vrrp_state_changed", new="MASTER")
        assert "ff02::12" in it.host.run(shown).stdout
        since = time.monotonic()
        it.host.ip(f"link set {DEVICE} mtu 1000")
        it.daemon.wait_for("vrrp_state_changed", since=since, new="FAULT")
        it.host.ip(f"link set {DEVICE} mtu 1500", f"addr add fe80::11/64 dev {DEVICE} nodad")
        it.daemon.wait_for("vrrp_state_changed", since=since, new="BACKUP")
        assert "ff02::12" in it.host.run(shown).stdout
        assert it.daemon.stop() == 0


def side_link_back(folder: Path) -> None:
    """A VIP on another interface than the instance's is announced when that one comes up."""
    beside = "198.51.100.5"
    once = ("garp_master_repeat 1", "garp_master_delay 0")
    with machine(folder, instance("idle", 9, ())) as it:
        it.host.ip("link add side type veth peer name far", "link set far up")
        with namespace(it.host.name):
            ears = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
        with ears:
            ears.bind(("far", _ETH_P_ARP))
            ears.settimeout(3)
            it.go_on(instance("one", 1, (VIP, f"{beside}/24 dev side"), *once))
            it.has(OWN, VIP)
            it.has(beside, device="side")
            it.host.ip("link set side up")
            assert ears.recv(64)[28:32] == parse_address(beside)
        assert it.daemon.stop() == 0


def route_refused(folder: Path) -> None:
    """A route that cannot be there yet is not called lost at each news of other interfaces."""
    routes = "virtual_routes {\n 203.0.113.0/24 via 198.51.100.1\n}"
    with machine(folder, instance("one", 1, (VIP,), routes)) as it:
        it.daemon.wait_for("vip_refused")
        it.host.ip("link add other type veth peer name far", "link set far up")
        time.sleep(2 * ROUTE_PAUSE)
        it.host.ip("link set other up", "addr add 198.51.100.2/24 dev other")
        shown = ["ip", "route", "show", "203.0.113.0/24"]
        wait_until(lambda: "198.51.100.1" in it.host.run(shown).stdout, "no route")
        assert it.daemon.events("vip_lost") == []
        since = time.monotonic()
        it.host.ip("route del 203.0.113.0/24")
        wait_until(lambda: "198.51.100.1" in it.host.run(shown).stdout, "no route again")
        it.daemon.wait_for("vip_lost", since=since)
        assert it.daemon.stop() == 0


def removed_unheard(folder: Path) -> None:
    """A rule that goes while more happens than the kernel can tell of is put back."""
    rule = "virtual_rules {\n from 203.0.113.0/24 lookup 7 priority 77\n}"
    text = instance("one", 1, (VIP,), rule)
    with machine(folder, text) as it:

        def stands() -> bool:
            return "77:" in it.host.run(["ip", "rule", "show"]).stdout

        it.daemon.wait_for("vips_held")
        assert stands()
        router = it.daemon.role("router")
        os.kill(router, signal.SIGSTOP)
        try:
            there_and_back = ("addr add 198.51.100.1/32 dev lo", "addr del 198.51.100.1/32 dev lo")
            it.host.ip(*there_and_back * NEWS, "rule del priority 77")
            assert not stands()
        finally:
            os.kill(router, signal.SIGCONT)
        wait_until(stands, "it stays away")
        told = it.daemon.wait_for("vip_lost")
        assert "rule 77:" in told.fields["lost"]
        assert it.daemon.events("vip_lost", since=it.go_on(text)) == []
        assert it.daemon.events("role_died") == []
        assert it.daemon.stop() == 0


STORIES: Final[tuple[Story, ...]] = (
    address_moved, found_there, owner, renamed, vmac_switched_off, vmac_follows_its_base,
    left_by_the_killed,
    vmac_given_up, no_room, untracked, stopped_while_dead,
    refused_for_good, too_small_for_ipv6, side_link_back,
    route_refused, removed_unheard,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)


def test_a_reload_that_waits_for_nft_delays_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:{SEARCH_PATH}")
    fake, hang, asked = tmp_path / "bin/nft", tmp_path / "hang", tmp_path / "asked"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n[ -e {hang} ] || exec {nft} "$@"\ntouch {asked}\nexec sleep 60\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with machine(tmp_path, instance("one", 1, (VIP,), "no_accept")) as it:
        it.has(OWN, VIP)
        hang.touch()
        it.daemon.file.write_text(instance("one", 1, (VIP, SECOND), "no_accept"))
        it.daemon.reload()
        wait_until(asked.exists, "nft is not asked")
        since = time.monotonic()
        assert it.daemon.stop() == 0
        (left,) = it.daemon.events("vrrp_state_changed", new="INIT")
        assert left.seen - since < 3
        it.has(OWN)
        (told,) = it.daemon.events("upkeep_failed")
        assert "nft did not remove our table" in told.fields["message"]


def test_hundreds_of_vmacs_have_room_whatever_the_usual_limit_of_open_files_is(
    tmp_path: Path,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with machine(tmp_path, instance("one", 1, (VIP,))) as it:
            limits, _ = resource.prlimit(it.daemon.role("router"), resource.RLIMIT_NOFILE)
            assert limits == min(hard, MAX_FILES)
            assert it.daemon.stop() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
