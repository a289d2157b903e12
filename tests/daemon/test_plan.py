"""What a starting daemon would change in the ruleset, in words."""

import asyncio
from collections.abc import Iterator

import pytest
from support.fullnat_net import empty_namespace

from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.plan import _ruleset
from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    RealServerSpec,
    SynProxySpec,
    VirtualServerSpec,
)
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.units import parse_address

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
