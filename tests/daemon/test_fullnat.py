"""The keeper of the table in a network namespace of its own: SYN cookies, health, restarts."""

import asyncio
import contextlib
import gc
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from support.fullnat_net import empty_namespace, run
from support.waiting import until

from lvskeeper.daemon import fullnat
from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.hold_guard import HoldGuard
from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    StateSyncSpec,
    SynProxySpec,
    TcpDefence,
    VirtualServerSpec,
)
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.kernel.nft import Nft
from lvskeeper.observe.events import Event
from lvskeeper.observe.fullnat_events import (
    FullnatApplied,
    RulesetRepaired,
    SynProxyChanged,
    TimestampKept,
)
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

WEB = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80)
TLS = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 443)
WEB6 = ServiceKey(Family.INET6, Protocol.TCP, parse_address("2001:db8:f::1"), 80)
LIPS = PoolSpec(
    "lips",
    (LocalAddressSpec(parse_address("10.0.0.9")), LocalAddressSpec(parse_address("fd00::9"))),
)


def director(
    *keys: ServiceKey, cookies: bool = True, defence: DefenceSpec | None = None
) -> DirectorSpec:
    server = RealServerSpec(parse_address("10.1.1.2"), 80, Forward.FULLNAT)
    virtuals = tuple(
        VirtualServerSpec(
            str(key), (key,), "rr", (server,), pool="lips",
            syn_proxy=SynProxySpec() if cookies else None, defence=defence or DefenceSpec(),
        )
        for key in keys
    )  # fmt: skip
    return DirectorSpec(virtual_servers=virtuals, pools=(LIPS,))


class Stage:
    """A keeper and what it tells; another one may come after it."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.keeper = FullnatKeeper(self.told.append)

    def restart(self) -> None:
        self.keeper.close()
        self.told.clear()
        self.keeper = FullnatKeeper(self.told.append)

    async def start(self, spec: DirectorSpec, *served: ServiceKey) -> None:
        await self.keeper.prepare(spec)
        await self.keeper.settle(spec, set(served))

    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.told]


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    with empty_namespace():
        stage = Stage()
        yield stage
        stage.keeper.close()


def elements(name: str = "syn_port4") -> set[int]:
    """Return the ports in a map or set of the table."""
    listing = json.loads(run("nft -j list table inet lvskeeper"))["nftables"]
    (body,) = (
        item[kind] for item in listing for kind in ("map", "set")
        if item.get(kind, {}).get("name") == name
    )  # fmt: skip
    found = (item[0] if isinstance(item, list) else item for item in body.get("elem", ()))
    return {item["concat"][1] for item in found}


def listings() -> int:
    """Return how many programs of this process list the table."""
    found = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for process in children.read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):
                found += b"\0list\0" in Path(f"/proc/{process}/cmdline").read_bytes()
    return found


def handle() -> int:
    """Return the table's handle, which another table of its name would not have."""
    listing = json.loads(run("nft -j list tables"))["nftables"]
    (number,) = (
        item["table"]["handle"] for item in listing
        if item.get("table", {}).get("name") == "lvskeeper"
    )  # fmt: skip
    return int(number)


@pytest.mark.asyncio
async def test_a_new_service_is_behind_cookies_only_after_its_servers_are_there(
    stage: Stage,
) -> None:
    spec = director(WEB, TLS)
    await stage.keeper.prepare(spec)
    assert elements() == set()
    await stage.keeper.settle(spec, {WEB})
    assert elements() == elements("cookie_port4") == {80}


@pytest.mark.asyncio
async def test_health_moves_elements_and_leaves_the_table(stage: Stage) -> None:
    await stage.start(director(WEB, TLS), WEB, TLS)
    table = handle()
    await stage.keeper.withdraw({WEB})
    assert elements() == elements("cookie_port4") == {443}
    await stage.keeper.withdraw({WEB})
    await stage.keeper.admit({WEB})
    assert elements() == elements("cookie_port4") == {80, 443}
    assert handle() == table
    changes = [event for event in stage.told if isinstance(event, SynProxyChanged)]
    assert [(event.services, event.change) for event in changes] == [
        (str(WEB), "left"),
        (str(WEB), "returned"),
    ]


@pytest.mark.asyncio
async def test_health_is_kept_through_foreign_changes(stage: Stage) -> None:
    await stage.start(director(WEB, TLS), WEB)
    run("nft flush ruleset")
    await stage.keeper.check_drift()
    assert elements() == {80}
    assert RulesetRepaired in stage.kinds()
    run("nft flush map inet lvskeeper syn_port4")
    await stage.keeper.withdraw({WEB})
    assert elements() == elements("cookie_port4") == set()
    run("nft delete table inet lvskeeper")
    await stage.keeper.admit({TLS})
    assert elements() == {443}
    await stage.keeper.check_drift()
    assert stage.kinds().count(RulesetRepaired) == 1


def big_director() -> DirectorSpec:
    """Return one whose table takes some time to be listed."""
    return director(*(replace(WEB, port=port) for port in range(1000, 2000)))


@pytest.mark.asyncio
async def test_health_does_not_wait_for_a_listing(stage: Stage) -> None:
    """One lasts for as long as others make one transaction after the other."""
    spec = big_director()
    keys = {key for virtual in spec.virtual_servers for key in virtual.keys}
    await stage.start(spec, *keys)
    run("nft add table inet other")
    checking = asyncio.create_task(stage.keeper.check_drift())
    await until(lambda: listings() > 0)
    await stage.keeper.withdraw({min(keys)})
    assert not checking.done()
    assert elements() == {key.port for key in keys} - {min(keys).port}
    await checking
    assert RulesetRepaired not in stage.kinds()


@pytest.mark.asyncio
async def test_a_reload_makes_a_table_anew_that_cannot_be_listed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fullnat, "LISTING_PATIENCE", 0.02)
    await stage.start(big_director())
    run("nft add table inet other")
    with pytest.raises(OperatorError, match="did not answer"):
        await stage.keeper.check_drift()
    await stage.start(director(WEB), WEB)
    assert elements() == {80}


@pytest.mark.asyncio
async def test_what_health_could_not_bring_about_is_done_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.start(director(WEB, TLS), WEB, TLS)
    with monkeypatch.context() as broken:

        async def refuse(_self: Nft, _text: str) -> int:
            raise OperatorError("no", status=ExitStatus.KERNEL)

        broken.setattr(Nft, "apply", refuse)
        with pytest.raises(OperatorError):
            await stage.keeper.withdraw({WEB})
    assert elements() == {80, 443}
    await stage.keeper.check_drift()
    assert elements() == {443}


@pytest.mark.asyncio
async def test_a_restart_takes_the_table_over_as_it_is(stage: Stage) -> None:
    spec = director(WEB, TLS, WEB6, defence=DefenceSpec(TcpDefence.VIP, udp=True, fragments=True))
    await stage.start(spec, WEB, WEB6)
    table = handle()
    stage.restart()
    await stage.start(spec, WEB, WEB6)
    assert handle() == table
    assert elements() == elements("syn_port6") == {80}
    assert stage.told == []


@pytest.mark.asyncio
async def test_a_restart_with_other_defences_replaces_the_table(stage: Stage) -> None:
    await stage.start(director(WEB, TLS), WEB)
    stage.restart()
    (vip,) = director(WEB, defence=DefenceSpec(TcpDefence.VIP)).virtual_servers
    spec = director(WEB, TLS)
    others = tuple(one for one in spec.virtual_servers if one.name != vip.name)
    await stage.start(replace(spec, virtual_servers=(vip, *others)), WEB)
    assert elements("tcp_port4") == {80, 443}, "the one is defended, the other is not hurt"


@pytest.mark.asyncio
async def test_a_hold_of_the_router_is_neither_repaired_nor_ended_by_health_or_a_restart(
    stage: Stage,
) -> None:
    spec = replace(director(WEB, TLS), state_sync=StateSyncSpec())
    assert stage.keeper.held() is None
    await stage.start(spec, WEB, TLS)
    assert stage.keeper.held() == (0, 0)
    failures: list[Event] = []
    router = HoldGuard(failures.append)
    router.configure(60.0)
    router.begin(asyncio.get_running_loop().time())
    await until(lambda: run("nft list set inet lvskeeper hold").count("expires") == 2)
    assert failures == []
    await stage.keeper.check_drift()
    await stage.keeper.withdraw({WEB})
    stage.restart()
    await stage.start(spec, WEB, TLS)
    await stage.keeper.check_drift()
    assert RulesetRepaired not in stage.kinds()
    assert run("nft list set inet lvskeeper hold").count("expires") == 2
    # The control: without connections from a peer there is no such set.
    await stage.start(replace(spec, state_sync=None), WEB, TLS)
    assert stage.keeper.held() is None


@pytest.mark.asyncio
async def test_hooks_outlive_services_and_restarts_and_go_at_a_clean_stop(stage: Stage) -> None:
    await stage.start(director(WEB), WEB)
    await stage.start(director(WEB, cookies=False))
    assert elements() == set()
    await stage.start(DirectorSpec())
    assert elements() == set()
    stage.restart()
    await stage.start(DirectorSpec())
    assert elements() == set()
    assert "synproxy" in run("nft list chain inet lvskeeper cookie_keep")
    stage.restart()
    await stage.start(director(TLS), TLS)
    assert elements() == {443}
    stage.restart()
    await stage.keeper.remove()
    assert "lvskeeper" not in run("nft list tables")


@pytest.mark.asyncio
async def test_the_guard_keeps_the_hooks_of_cookies_too(stage: Stage) -> None:
    await stage.start(director(WEB, cookies=False))
    assert "synproxy" not in run("nft list table inet lvskeeper_guard")
    await stage.start(director(WEB), WEB)
    assert "synproxy" in run("nft list table inet lvskeeper_guard")
    await stage.start(director(WEB, cookies=False))
    await stage.start(DirectorSpec())
    assert "synproxy" in run("nft list table inet lvskeeper_guard")


@pytest.mark.asyncio
async def test_without_reset_of_options_the_timestamp_stays_and_that_is_told_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Nft.check

    async def old(self: Nft, text: str) -> None:
        if "reset tcp option" in text:
            raise OperatorError("syntax error, unexpected reset", status=ExitStatus.KERNEL)
        await original(self, text)

    monkeypatch.setattr(Nft, "check", old)
    await stage.start(director(WEB), WEB)
    await stage.start(director(WEB, TLS), WEB, TLS)
    assert elements() == {80, 443}
    assert "cookie_out" not in run("nft list table inet lvskeeper")
    assert stage.kinds().count(TimestampKept) == 1


@pytest.mark.asyncio
async def test_what_the_kernel_lacks_altogether_is_told_before_anything_changes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.start(director(WEB, cookies=False))
    before = run("nft list ruleset")

    async def lacking(_self: Nft, _text: str) -> None:
        raise OperatorError("nft refused: synproxy", status=ExitStatus.KERNEL)

    monkeypatch.setattr(Nft, "check", lacking)
    with pytest.raises(OperatorError, match="synproxy"):
        await stage.keeper.prepare(director(WEB))
    assert run("nft list ruleset") == before
    assert FullnatApplied in stage.kinds()


def cpu() -> float:
    """Return the CPU seconds of this process and of those that it started: others do not count."""
    return sum(os.times()[:4])


@pytest.mark.asyncio
async def test_five_thousand_services_are_programmed_in_seconds_off_the_loop(stage: Stage) -> None:
    keys = [
        ServiceKey(Family.INET, Protocol.TCP, parse_address(f"198.18.{n // 250}.{n % 250}"), 80)
        for n in range(5000)
    ]
    spec = director(*keys, defence=DefenceSpec(TcpDefence.VIP, udp=True, fragments=True))
    used = cpu()
    full_collections = gc.get_stats()[-1]["collections"]
    await stage.start(spec, *keys)
    assert gc.get_stats()[-1]["collections"] == full_collections, "each holds the loop"
    assert gc.isenabled()
    assert cpu() - used < 10
    used = cpu()
    await stage.keeper.withdraw({keys[0]})
    await stage.keeper.admit({keys[0]})
    assert cpu() - used < 1
