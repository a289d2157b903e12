from dataclasses import replace
from pathlib import Path

from lvskeeper.daemon.coverage import gaps, online_cpus
from lvskeeper.daemon.roles import (
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    VirtualServerSpec,
)
from lvskeeper.ipvs.dialect import Dialect
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.observe.fullnat_events import LocalAddressGap
from lvskeeper.units import parse_address

KEY4 = ServiceKey(Family.INET, Protocol.TCP, parse_address("192.0.2.10"), 80)
KEY6 = ServiceKey(Family.INET6, Protocol.TCP, parse_address("2001:db8::10"), 80)
SERVER = RealServerSpec(parse_address("198.51.100.1"), 8080, Forward.FULLNAT)
WEB = VirtualServerSpec("web", (KEY4,), "rr", (SERVER,), pool="lips")


def spec_of(*lips: str, virtual: VirtualServerSpec = WEB) -> DirectorSpec:
    pool = PoolSpec("lips", tuple(LocalAddressSpec(parse_address(each)) for each in lips))
    return DirectorSpec(virtual_servers=(virtual,), pools=(pool,))


def test_cpus_without_a_lip_are_told_on_the_third_generation(tmp_path: Path) -> None:
    spec = spec_of("203.0.113.4", "203.0.113.5")

    assert gaps(spec, Dialect.FORK_V3, 4, tmp_path) == [
        LocalAddressGap("tcp 192.0.2.10:80", "CPUs 2, 3")
    ]
    assert gaps(spec, Dialect.FORK_V3, 2, tmp_path) == []
    assert gaps(spec, Dialect.FORK_V2, 4, tmp_path) == []
    assert gaps(spec, Dialect.MAINLINE, 4, tmp_path) == []


def test_reserved_cpus_need_no_lip(tmp_path: Path) -> None:
    setting = tmp_path / "net/ipv4/vs/reserve_core"
    setting.parent.mkdir(parents=True)
    setting.write_text("2\n")

    assert gaps(spec_of("203.0.113.4", "203.0.113.5"), Dialect.FORK_V3, 4, tmp_path) == []
    assert gaps(spec_of("203.0.113.4"), Dialect.FORK_V3, 4, tmp_path) == [
        LocalAddressGap("tcp 192.0.2.10:80", "CPU 3")
    ]


def test_a_service_without_a_lip_of_its_family_is_told_on_both(tmp_path: Path) -> None:
    spec = spec_of("203.0.113.4", virtual=replace(WEB, keys=(KEY4, KEY6)))

    for dialect in (Dialect.FORK_V2, Dialect.FORK_V3):
        assert gaps(spec, dialect, 1, tmp_path) == [
            LocalAddressGap("tcp [2001:db8::10]:80", "the whole service")
        ]


def test_nat_needs_no_lip(tmp_path: Path) -> None:
    nat = replace(WEB, real_servers=(replace(SERVER, forward=Forward.NAT),), pool="")

    assert gaps(spec_of(virtual=nat), Dialect.FORK_V3, 4, tmp_path) == []
    assert online_cpus() >= 1
