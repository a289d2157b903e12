"""What a starting daemon would change in the ruleset and of addresses, in words."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fullnat_net import empty_namespace, run
from support.memfiles import MemoryFiles

from lvskeeper.config.load import load
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.holder import Holder, Holdings
from lvskeeper.daemon.links import Links
from lvskeeper.daemon.plan import _ruleset
from lvskeeper.daemon.plan_router import plan_router
from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    RealServerSpec,
    SynProxySpec,
    VirtualServerSpec,
)
from lvskeeper.daemon.router_spec import RouterSpec
from lvskeeper.daemon.run_dir import take_run_dir
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.kernel.rtnetlink_changes import AddRoute, AddRule
from lvskeeper.units import parse_address
from lvskeeper.vrrp.holdings import HeldAddress

pytestmark = pytest.mark.root

WEB = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80)


def director(*, cookies: bool = True, fragments: bool = False) -> DirectorSpec:
    server = RealServerSpec(parse_address("10.1.1.2"), 80, Forward.NAT)
    virtual = VirtualServerSpec(
        str(WEB), (WEB,), "rr", (server,), syn_proxy=SynProxySpec() if cookies else None,
        defence=DefenceSpec(fragments=fragments),
    )  # fmt: skip
    return DirectorSpec(virtual_servers=(virtual,))


@pytest.fixture(autouse=True)
def own_namespace() -> Iterator[None]:
    with empty_namespace():
        yield


def program(spec: DirectorSpec) -> None:
    async def serve() -> None:
        keeper = FullnatKeeper(lambda _event: None)
        await keeper.prepare(spec)
        await keeper.settle(spec, {WEB})
        keeper.close()

    asyncio.run(serve())


def planned(spec: DirectorSpec, served: set[ServiceKey]) -> list[str]:
    return [change.what for change in _ruleset(spec, served)]


def test_a_new_ruleset_is_told_by_what_it_is_for() -> None:
    assert planned(director(fragments=True), {WEB}) == [
        "add nftables ruleset: services with SYNPROXY: 1, addresses defended against fragments: 1"
    ]
    assert planned(director(cookies=False), {WEB}) == []


def test_what_is_there_as_wanted_is_no_change() -> None:
    program(director())
    assert planned(director(), {WEB}) == []


def test_changes_name_the_service_and_its_cookies_and_keep_the_hooks() -> None:
    program(director())
    gone = [
        f"change nftables ruleset: {WEB} is not wanted in the {place}"
        for place in ("set behind SYN cookies", "map of SYN cookies")
    ]
    assert planned(director(), set()) == gone
    told = planned(director(cookies=False), {WEB})
    assert told[-2:] == gone
    assert not any("hook" in line or "cookie_" in line for line in told)
    assert "set fragment4 is missing" in " ".join(planned(director(fragments=True), {WEB}))


HELD = HeldAddress(parse_address("192.0.2.10"), 24, "v0")
STATIC = HeldAddress(parse_address("192.0.2.1"), 24, "v0")
OTHER = HeldAddress(parse_address("192.0.2.11"), 24, "v0")


def router(*addresses: HeldAddress) -> RouterSpec:
    text = "".join(f"{address}\n" for address in addresses)
    loaded = load("a.conf", MemoryFiles({"a.conf": f"""\
static_ipaddress {{
  {STATIC}
}}
vrrp_instance a {{
  interface v0
  virtual_router_id 7
  virtual_ipaddress {{
    {text}
  }}
}}
"""}))  # fmt: skip
    assert loaded.config is not None
    made = compile_router(loaded.config)
    assert made is not None
    return made


def told(spec: RouterSpec | None, run_dir: Path) -> list[tuple[str, str, bool]]:
    return [(one.what, one.impact.value, one.waiting) for one in plan_router(spec, run_dir)]


def test_a_router_that_starts_adds_what_is_static_and_takes_part(tmp_path: Path) -> None:
    run("ip link add v0 type veth peer name v1")
    joins = ("vrrp_instance a joins: 192.0.2.10, if it becomes master", "in place", True)
    assert told(router(HELD), tmp_path) == [
        ("add static address 192.0.2.1/24 dev v0", "in place", False),
        joins,
    ]
    run("ip address add 192.0.2.1/24 dev v0")
    assert told(router(HELD), tmp_path) == [joins]
    assert told(None, tmp_path) == []


def test_what_an_earlier_router_left_goes(tmp_path: Path) -> None:
    run("ip link add v0 type veth peer name v1")
    run("ip address add 192.0.2.1/24 dev v0; ip address add 192.0.2.10/24 dev v0")
    client = RouteClient()
    Holder(client, Links(), tmp_path).note(Holdings((HELD, STATIC)), set())
    client.close()
    assert told(router(HELD), tmp_path)[0] == (
        "delete address 192.0.2.10/24 dev v0, until its instance is master", "interrupts", False,
    )  # fmt: skip
    assert [what for what, _, _ in told(None, tmp_path)] == [
        "delete address 192.0.2.10/24 dev v0",
        "delete address 192.0.2.1/24 dev v0",
    ]
    # With a daemon that runs it is a reload: a master keeps what it is to have.
    lock = asyncio.run(take_run_dir(tmp_path))
    try:
        assert told(router(HELD, OTHER), tmp_path) == [
            ("add address of a 192.0.2.11/24 dev v0", "in place", False)
        ]
        assert told(router(OTHER), tmp_path)[0][:2] == (
            "delete address 192.0.2.10/24 dev v0", "interrupts",
        )  # fmt: skip
    finally:
        lock.close()


def test_routes_and_rules_that_are_static_are_compared_too(tmp_path: Path) -> None:
    run("ip link add v0 type veth peer name v1")
    run("ip address add 192.0.2.1/24 dev v0; ip link set v0 up; ip link set v1 up")
    loaded = load("a.conf", MemoryFiles({"a.conf": """\
static_routes {
  203.0.113.0/24 via 192.0.2.254 dev v0
}
static_rules {
  from 192.0.2.0/24 table 100 priority 500
}
"""}))  # fmt: skip
    assert loaded.config is not None
    spec = compile_router(loaded.config)
    assert spec is not None
    assert [what for what, _, _ in told(spec, tmp_path)] == [
        "add static route 203.0.113.0/24 via 192.0.2.254 dev v0",
        "add static rule 500: from 192.0.2.0/24 lookup 100",
    ]
    client = RouteClient()
    client.apply([*map(AddRoute, spec.static_routes), *map(AddRule, spec.static_policies)])
    assert told(spec, tmp_path) == []
    holdings = Holdings((), spec.static_routes, spec.static_policies)
    Holder(client, Links(), tmp_path).note(holdings, set())
    client.close()
    assert told(spec, tmp_path) == []
    assert told(None, tmp_path) == [
        ("delete route 203.0.113.0/24 via 192.0.2.254 dev v0", "affects connections", False),
        ("delete rule 500: from 192.0.2.0/24 lookup 100", "affects connections", False),
    ]
