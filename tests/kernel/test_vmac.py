"""Virtual devices on a real kernel: who answers for what, and the sysctls before and after."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fullnat_net import namespace
from support.vrrp_net import DEVICE, two_hosts

from lvskeeper.kernel.held_sysctls import HeldSysctls
from lvskeeper.kernel.rtnetlink import RouteClient, index_of
from lvskeeper.kernel.rtnetlink_changes import AddAddress, AddIpvlan, AddMacvlan, DeleteAddress
from lvskeeper.kernel.sysctls import Requirement, State
from lvskeeper.kernel.vmac import Outcome, Vmacs
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import parse_address
from lvskeeper.vrrp.holdings import HeldAddress

pytestmark = pytest.mark.root

MAC, OTHER_MAC = bytes.fromhex("00005e000133"), bytes.fromhex("00005e000134")
VMAC, OTHER = AddMacvlan("vrrp.51", DEVICE, MAC), AddMacvlan("vrrp.52", DEVICE, OTHER_MAC)
VIP = parse_address("192.0.2.100")
OURS = ("arp_ignore", "arp_filter", "arp_announce")


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts, with this thread in the first."""
    with two_hosts() as made, namespace(made[0].name):
        yield made


@pytest.fixture
def client(hosts: tuple[Namespace, Namespace]) -> Iterator[RouteClient]:
    assert hosts
    with RouteClient() as made:
        yield made


@pytest.fixture
def vmacs(client: RouteClient) -> Vmacs:
    return Vmacs(client)


def read(family: int, device: str, name: str) -> int:
    return int(Path(f"/proc/sys/net/ipv{family}/conf", device, name).read_text())


def write(device: str, name: str, value: int) -> None:
    Path("/proc/sys/net/ipv4/conf", device, name).write_text(f"{value}\n")


def test_a_device_is_made_with_the_sysctls_of_keepalived(vmacs: Vmacs, client: RouteClient) -> None:
    write("all", "rp_filter", 0)
    outcome = vmacs.ensure([VMAC])
    assert (outcome.made, outcome.adopted, outcome.refusals) == (("vrrp.51",), (), ())
    (link,) = [link for link in client.links() if link.name == "vrrp.51"]
    assert (link.kind, link.mac, link.up, link.lower) == ("macvlan", MAC, True, index_of(DEVICE))
    names = ("arp_ignore", "accept_local", "rp_filter", "promote_secondaries")
    assert [read(4, "vrrp.51", name) for name in names] == [1, 1, 0, 1]
    six = ("addr_gen_mode", "autoconf", "accept_ra")
    assert [read(6, "vrrp.51", name) for name in six] == [1, 0, 0]
    assert [read(4, DEVICE, name) for name in OURS] == [1, 1, 2]
    assert [str(finding) for finding in outcome.findings] == [
        "net.ipv4.conf.eth0.arp_ignore set to 1, was 0",
        "net.ipv4.conf.eth0.arp_filter set to 1, was 0",
        "net.ipv4.conf.eth0.arp_announce set to 2, was 0",
    ]
    assert [each.address for each in client.addresses() if each.index == link.index] == []


def test_neighbours_learn_the_virtual_mac_alone(
    hosts: tuple[Namespace, Namespace], vmacs: Vmacs, client: RouteClient
) -> None:
    _, there = hosts
    vmacs.ensure([VMAC])
    own_mac = next(link.mac for link in client.links() if link.name == DEVICE)
    assert client.apply([AddAddress(HeldAddress(VIP, 32, "vrrp.51"))]) == ()
    for address, mac in (("192.0.2.100", MAC), ("192.0.2.1", own_mac)):
        with namespace(there.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (address, 9))
        assert learnt_mac(there, address) == mac.hex(":")


def learnt_mac(there: Namespace, address: str) -> str:
    """Return the MAC address that *there* has learnt for *address*."""
    until = time.monotonic() + 5
    while True:
        shown = json.loads(there.run(["ip", "-j", "neigh", "show", address]).stdout)
        for entry in shown:
            if "lladdr" in entry:
                return str(entry["lladdr"])
        assert time.monotonic() < until, f"no answer for {address}"
        time.sleep(0.02)


def test_what_was_changed_below_is_put_back_with_the_last_device(vmacs: Vmacs) -> None:
    write(DEVICE, "arp_ignore", 2)
    vmacs.ensure([VMAC, OTHER])
    assert vmacs.names == ("vrrp.51", "vrrp.52")
    assert vmacs.remove(["vrrp.51", "never.made"]) == Outcome()
    assert [read(4, DEVICE, name) for name in OURS] == [1, 1, 2]
    outcome = vmacs.remove(["vrrp.52"])
    assert [read(4, DEVICE, name) for name in OURS] == [2, 0, 0]
    assert "net.ipv4.conf.eth0.arp_ignore set to 2, was 1" in map(str, outcome.findings)
    assert not index_of("vrrp.51")
    assert not index_of("vrrp.52")
    assert not vmacs.names


def test_what_somebody_else_changed_meanwhile_is_let_be(vmacs: Vmacs) -> None:
    vmacs.ensure([VMAC])
    write(DEVICE, "arp_ignore", 3)
    vmacs.remove(["vrrp.51"])
    assert [read(4, DEVICE, name) for name in OURS] == [3, 0, 0]


def test_the_common_reverse_path_filter_goes_over_to_the_interfaces(vmacs: Vmacs) -> None:
    write("all", "rp_filter", 1)
    write("lo", "rp_filter", 2)
    write(DEVICE, "rp_filter", 0)
    write("default", "rp_filter", 0)
    vmacs.ensure([VMAC])
    vmacs.ensure([OTHER])
    names = ("all", "lo", DEVICE, "default", "vrrp.51", "vrrp.52")
    assert [read(4, name, "rp_filter") for name in names] == [0, 2, 1, 1, 0, 0]
    vmacs.remove(["vrrp.51"])
    assert [read(4, name, "rp_filter") for name in names[:4]] == [0, 2, 1, 1]
    vmacs.remove(["vrrp.52"])
    assert [read(4, name, "rp_filter") for name in names[:4]] == [1, 2, 0, 0]


def test_a_device_that_is_there_is_adopted_with_its_addresses(
    hosts: tuple[Namespace, Namespace], client: RouteClient
) -> None:
    Vmacs(client).ensure([VMAC])
    hosts[0].ip("addr add 192.0.2.100/32 dev vrrp.51", "link set vrrp.51 down")
    write("vrrp.51", "accept_local", 0)
    index = index_of("vrrp.51")
    outcome = Vmacs(client).ensure([VMAC])
    assert (outcome.made, outcome.adopted, outcome.refusals) == ((), ("vrrp.51",), ())
    assert index_of("vrrp.51") == index
    assert read(4, "vrrp.51", "accept_local") == 1
    assert VIP in [each.address for each in client.addresses()]
    assert next(link.up for link in client.links() if link.index == index)


def test_a_device_with_another_mac_is_made_anew(vmacs: Vmacs, client: RouteClient) -> None:
    vmacs.ensure([AddMacvlan("vrrp.51", DEVICE, OTHER_MAC)])
    before = index_of("vrrp.51")
    assert vmacs.ensure([VMAC]).made == ("vrrp.51",)
    assert index_of("vrrp.51") != before
    assert MAC in [link.mac for link in client.links()]


def test_devices_that_are_not_ours_stay(
    hosts: tuple[Namespace, Namespace], vmacs: Vmacs, client: RouteClient
) -> None:
    hosts[0].ip("link add vrrp.51 type veth peer other0")
    outcome = vmacs.ensure([VMAC, AddMacvlan("vrrp.9", "nowhere0", MAC), OTHER])
    assert outcome.made == ("vrrp.52",)
    assert [str(refusal) for refusal in outcome.refusals] == [
        "cannot make macvlan vrrp.51 on eth0: File exists",
        "cannot make macvlan vrrp.9 on nowhere0: No such device",
    ]
    vmacs.remove(["vrrp.51", DEVICE])
    kinds = {link.name: link.kind for link in client.links()}
    assert kinds["vrrp.51"] == kinds[DEVICE] == "veth"


@pytest.mark.ipvs  # a kernel with that has ipvlan, too
def test_an_ipvlan_leaves_the_interface_below_as_it_is(vmacs: Vmacs) -> None:
    outcome = vmacs.ensure([AddIpvlan("vrrp.51", DEVICE, "private")])
    assert outcome.refusals == ()
    assert [read(4, DEVICE, name) for name in OURS] == [0, 0, 0]
    assert read(4, "vrrp.51", "arp_ignore") == 1
    with RouteClient() as another:
        assert Vmacs(another).ensure([AddIpvlan("vrrp.51", DEVICE)]).adopted == ("vrrp.51",)


def test_the_second_address_stays_with_promotion(vmacs: Vmacs, client: RouteClient) -> None:
    first, second = (HeldAddress(parse_address(f"10.0.0.{n}"), 24, DEVICE) for n in (1, 2))
    for promoted in (False, True):
        write(DEVICE, "promote_secondaries", 0)
        if promoted:
            (finding,) = vmacs.promote_secondaries("VI_1", [DEVICE])
            assert str(finding) == "net.ipv4.conf.eth0.promote_secondaries set to 1, was 0"
        assert client.apply([AddAddress(first), AddAddress(second), DeleteAddress(first)]) == ()
        left = [each.address for each in client.addresses()]
        assert (second.address in left) == promoted
    assert vmacs.promote_secondaries("VI_2", [DEVICE]) == ()
    assert vmacs.demote_secondaries("VI_1") == ()
    assert read(4, DEVICE, "promote_secondaries") == 1
    (finding,) = vmacs.demote_secondaries("VI_2")
    assert read(4, DEVICE, "promote_secondaries") == 0
    assert finding.ok


def test_a_sysctl_that_cannot_be_set_is_a_finding(tmp_path: Path, client: RouteClient) -> None:
    conf = tmp_path / "net/ipv4/conf"
    for device in ("all", DEVICE):
        (conf / device).mkdir(parents=True)
    (conf / "all/rp_filter").write_text("1\n")
    (conf / DEVICE / "arp_ignore").write_text("0\n")
    outcome = Vmacs(client, root=tmp_path).ensure([VMAC])
    assert outcome.made == ("vrrp.51",)
    states = {finding.requirement.name: finding.state for finding in outcome.findings}
    assert states == {
        "net/ipv4/conf/all/rp_filter": State.SET,
        f"net/ipv4/conf/{DEVICE}/arp_ignore": State.SET,
        f"net/ipv4/conf/{DEVICE}/arp_filter": State.MISSING,
        f"net/ipv4/conf/{DEVICE}/arp_announce": State.MISSING,
        "net/ipv4/conf/vrrp.51/arp_ignore": State.MISSING,
        "net/ipv4/conf/vrrp.51/accept_local": State.MISSING,
        "net/ipv4/conf/vrrp.51/rp_filter": State.MISSING,
        "net/ipv4/conf/vrrp.51/promote_secondaries": State.MISSING,
    }


def test_a_held_sysctl_is_put_back_after_its_last_holder(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("4\n")
    held, need = HeldSysctls(tmp_path), Requirement("a", 1, "it breaks")
    assert [finding.state for finding in held.hold("one", [need])] == [State.SET]
    assert [finding.state for finding in held.hold("two", [need])] == [State.OK]
    path.write_text("4\n")
    assert [finding.state for finding in held.hold("two", [need])] == [State.SET]
    assert held.release("one") == held.release("three") == []
    assert path.read_text() == "1\n"
    assert [str(finding) for finding in held.release("two")] == ["a set to 4, was 1"]
    assert path.read_text() == "4\n"
    assert held.release("two") == []
