"""The director's sysctls: on a made-up tree, and with the ways of a real network namespace."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.roles import (
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    SynProxySpec,
    VirtualServerSpec,
)
from lvskeeper.daemon.sysctl_keeper import SysctlKeeper
from lvskeeper.health.spec import CheckKind, CheckSpec
from lvskeeper.ipvs.dialect import FORK_V3, MAINLINE, Traits
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.observe import events
from lvskeeper.observe import fullnat_events as told
from lvskeeper.observe.events import Event
from lvskeeper.units import parse_address

KEY = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80)
NAT = VirtualServerSpec(
    "web", (KEY,), "rr", (RealServerSpec(parse_address("10.1.1.2"), 8080, Forward.NAT),)
)
FULLNAT = replace(
    NAT,
    real_servers=(RealServerSpec(parse_address("10.1.1.2"), 8080, Forward.FULLNAT),),
    pool="lips",
)
POOL = PoolSpec("lips", (LocalAddressSpec(parse_address("10.0.0.10"), "back0"),))
SPEC = DirectorSpec(virtual_servers=(FULLNAT,), pools=(POOL,))
WELL = {
    "ipv4/vs/conntrack": 1,
    "ipv4/vs/expire_nodest_conn": 1,
    "ipv4/vs/conn_reuse_mode": 1,
    "ipv4/ip_forward": 1,
    "netfilter/nf_conntrack_tcp_loose": 1,
    "netfilter/nf_conntrack_max": 262144,
}


class Tree:
    """A tree of sysctls, and a keeper of it with what it told."""

    def __init__(self, root: Path, **values: int) -> None:
        self.root = root
        for name, value in (
            WELL | {"ipv4/vs/" + key: each for key, each in values.items()}
        ).items():
            self.write(name, value)
        self.events: list[Event] = []
        self.keeper = SysctlKeeper(self.events.append, root)

    def write(self, name: str, value: int) -> None:
        path = self.root / "net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def read(self, name: str) -> int:
        return int((self.root / "net" / name).read_text())

    def told(self) -> list[Event]:
        """Return what was told since the last call."""
        found = list(self.events)
        self.events.clear()
        return found

    def apply(self, spec: DirectorSpec, traits: Traits = MAINLINE) -> list[Event]:
        self.keeper.apply(spec, traits)
        return self.told()

    def check(self, spec: DirectorSpec) -> list[Event]:
        self.keeper.check(spec, MAINLINE)
        return self.told()


def test_nothing_is_told_where_all_is_well(tmp_path: Path) -> None:
    assert Tree(tmp_path).apply(SPEC) == []


@pytest.mark.parametrize("virtual", [FULLNAT, replace(NAT, syn_proxy=SynProxySpec())])
def test_what_translation_needs_is_set_and_set_again(
    virtual: VirtualServerSpec, tmp_path: Path
) -> None:
    tree = Tree(tmp_path, conntrack=0)
    spec = replace(SPEC, virtual_servers=(virtual,))

    first = tree.apply(spec)
    tree.write("ipv4/vs/conntrack", 0)
    second = tree.check(spec)

    assert first == second == [events.SysctlSet("net.ipv4.vs.conntrack", "0", "1")]
    assert tree.read("ipv4/vs/conntrack") == 1


def test_plain_nat_and_native_kernels_need_none_of_it(tmp_path: Path) -> None:
    tree = Tree(tmp_path, conntrack=0)

    assert tree.apply(replace(SPEC, virtual_servers=(NAT,))) == []
    assert tree.apply(SPEC, FORK_V3) == []
    assert tree.read("ipv4/vs/conntrack") == 0


def test_where_setting_is_not_allowed_it_is_told_once(tmp_path: Path) -> None:
    tree = Tree(tmp_path, conntrack=0)
    spec = replace(SPEC, manage_sysctls=False)

    (wrong,) = tree.apply(spec)

    assert isinstance(wrong, events.SysctlWrong)
    assert (wrong.sysctl, wrong.value, wrong.wanted) == ("net.ipv4.vs.conntrack", "0", "1")
    assert tree.check(spec) == []
    assert tree.read("ipv4/vs/conntrack") == 0
    assert tree.apply(spec) == [wrong]


def test_a_conntrack_table_that_is_too_small_is_told_with_its_size(tmp_path: Path) -> None:
    tree = Tree(tmp_path)

    tree.keeper.apply(SPEC, MAINLINE, 400_000)

    (wrong,) = tree.told()
    assert isinstance(wrong, events.SysctlWrong)
    assert (wrong.sysctl, wrong.wanted) == ("net.netfilter.nf_conntrack_max", "400000")
    assert tree.read("netfilter/nf_conntrack_max") == 262144


def test_what_is_asked_for_is_written_and_read_back(tmp_path: Path) -> None:
    tree = Tree(tmp_path, sync_version=1, drop_entry=0)
    spec = replace(SPEC, sysctls=(("drop_entry", 3), ("sync_version", 1), ("synproxy_defer", 1)))

    changed = tree.keeper.apply(spec, MAINLINE)

    assert changed
    assert tree.told() == [
        events.SysctlSet("net.ipv4.vs.drop_entry", "0", "3"),
        told.SysctlUnknown("net.ipv4.vs.synproxy_defer"),
    ]
    assert tree.read("ipv4/vs/drop_entry") == 3
    assert tree.check(spec) == []
    assert not tree.keeper.apply(spec, MAINLINE)


def test_drift_of_what_is_asked_for_is_repaired_where_that_is_allowed(tmp_path: Path) -> None:
    tree = Tree(tmp_path, drop_entry=0)
    spec = replace(SPEC, sysctls=(("drop_entry", 3),))
    tree.apply(spec)

    tree.write("ipv4/vs/drop_entry", 1)
    assert tree.check(spec) == [events.SysctlSet("net.ipv4.vs.drop_entry", "1", "3")]

    tree.write("ipv4/vs/drop_entry", 1)
    forbidden = replace(spec, manage_sysctls=False)
    (wrong,) = tree.check(forbidden)
    assert isinstance(wrong, events.SysctlWrong)
    assert (wrong.value, wrong.wanted) == ("1", "3")
    assert tree.check(forbidden) == []
    assert tree.apply(forbidden) == [events.SysctlSet("net.ipv4.vs.drop_entry", "1", "3")]


def test_what_a_service_needs_is_not_set_back(tmp_path: Path) -> None:
    tree = Tree(tmp_path)

    assert tree.apply(replace(SPEC, sysctls=(("conntrack", 0),))) == []
    assert tree.read("ipv4/vs/conntrack") == 1


def test_a_policy_is_told_once_with_its_price_and_never_set(tmp_path: Path) -> None:
    tree = Tree(tmp_path, expire_nodest_conn=0, conn_reuse_mode=0)

    found = tree.apply(SPEC)

    assert [type(each) for each in found] == [told.SysctlPolicy] * 2
    assert tree.check(SPEC) == []
    tree.write("ipv4/vs/conn_reuse_mode", 1)
    assert tree.check(SPEC) == []
    assert tree.read("ipv4/vs/expire_nodest_conn") == 0
    chosen = replace(SPEC, sysctls=(("expire_nodest_conn", 0),))
    assert tree.apply(chosen) == []


def test_a_look_costs_the_same_with_thousands_of_services(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    lips = (LocalAddressSpec(parse_address(f"10.0.0.{number}"), "back0") for number in range(64))
    spec = replace(
        SPEC, virtual_servers=(FULLNAT,) * 5000, pools=(replace(POOL, addresses=tuple(lips)),)
    )
    assert tree.apply(spec) == []
    started = time.thread_time()
    tree.keeper.check(spec, MAINLINE)
    assert time.thread_time() - started < 0.01


@pytest.mark.root
@pytest.mark.parametrize(
    ("value", "route", "strict"),
    [(1, "front0", True), (1, "back0", False), (2, "front0", False), (0, "front0", False)],
)
def test_a_strict_device_that_replies_would_not_leave_by_is_told(
    value: int, route: str, strict: bool
) -> None:
    found: list[Event] = []
    with empty_namespace():
        run("ip link add back0 type veth peer name front0")
        for device, address in (("back0", "10.0.0.1/24"), ("front0", "192.0.2.1/24")):
            run(f"ip link set {device} up; ip addr add {address} dev {device}")
            Path(f"/proc/sys/net/ipv4/conf/{device}/rp_filter").write_text(str(value))
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")
        run(f"ip route add 10.1.1.0/24 dev {route}")
        keeper = SysctlKeeper(found.append)
        keeper.apply(replace(SPEC, manage_sysctls=False), MAINLINE)
        keeper.check(SPEC, MAINLINE)

    about = [each for each in found if getattr(each, "sysctl", "").endswith("rp_filter")]
    assert [type(each) for each in about] == [events.SysctlWrong] * strict


@pytest.mark.parametrize("manage", [True, False])
def test_the_right_to_ping_is_seen_to_where_a_check_needs_it(tmp_path: Path, manage: bool) -> None:
    tree = Tree(tmp_path)
    groups = tmp_path / "net/ipv4/ping_group_range"
    groups.write_text("1\t0\n")
    tree.keeper.apply(DirectorSpec(virtual_servers=(NAT,)), MAINLINE)
    assert tree.events == []
    check = CheckSpec(CheckKind.PING, parse_address("10.1.1.2"), 0)
    server = replace(NAT.real_servers[0], checks=(check,))
    spec = DirectorSpec(
        virtual_servers=(replace(NAT, real_servers=(server,)),), manage_sysctls=manage
    )
    for _ in range(2):
        tree.keeper.check(spec, MAINLINE)
    kind = events.SysctlSet if manage else events.SysctlWrong
    assert [type(event) for event in tree.events] == [kind]
    ours = str(os.getegid())
    assert groups.read_text().split() == ([ours, ours] if manage else ["1", "0"])
