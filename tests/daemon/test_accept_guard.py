"""The table of VRRP while somebody else changes the ruleset, in a network namespace of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from support.fullnat_net import empty_namespace, run
from support.waiting import until

from lvskeeper.daemon.accept_guard import AcceptGuard
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.kernel.vip_firewall import TABLE
from lvskeeper.observe.events import Event, UpkeepFailed
from lvskeeper.units import parse_address
from lvskeeper.vrrp.holdings import HeldAddress
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Rules

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

KEY: Final = InstanceKey("lo", 4, 1)
VIP: Final = HeldAddress(parse_address("192.0.2.100"), 32, "lo")
BLOCKING: Final = RouterSpec(
    instances=(
        InstanceConfig(InstanceSpec(KEY, "VI_1"), Rules(3, 1, 1.0), addresses=(VIP,), accept=False),
    )
)


@asynccontextmanager
async def guarding(told: list[Event], spec: RouterSpec = BLOCKING) -> AsyncIterator[AcceptGuard]:
    """Yield the guard at work for *spec*, in a namespace of its own."""
    with empty_namespace():
        guard = AcceptGuard(told.append)
        await guard.configure(spec)
        work = asyncio.create_task(guard.look_after())
        try:
            yield guard
        finally:
            work.cancel()
            await asyncio.wait({work})
            await guard.close(5)
        assert TABLE not in run("nft list tables")


def blocked() -> bool:
    return "192.0.2.100" in run("nft list ruleset")


async def test_a_flushed_table_is_back_at_the_news_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvskeeper.daemon.accept_guard.LOOK_INTERVAL", 3600)
    told: list[Event] = []
    async with guarding(told):
        await asyncio.sleep(0)
        run("nft flush ruleset")
        await until(blocked)
    assert told == []


async def test_a_reload_does_not_take_a_flushed_table_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.accept_guard.LOOK_INTERVAL", 0.05)
    async with guarding([]) as guard:
        run("nft flush ruleset")
        await guard.configure(replace(BLOCKING, router_id="another"))
        await until(blocked)


async def test_a_repair_that_fails_is_told_once_until_one_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.accept_guard.LOOK_INTERVAL", 0.02)
    broken = tmp_path / "broken"
    path = run("command -v nft").strip()
    nft = tmp_path / "nft"
    nft.write_text(
        f'#!/bin/sh\n[ -e {broken} ] || exec {path} "$@"\necho x >>{broken}; exit 1\n',
        encoding="ascii",
    )
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    told: list[Event] = []
    async with guarding(told):
        broken.touch()
        run(f"{path} flush ruleset")
        await until(lambda: len(broken.read_text(encoding="ascii").splitlines()) >= 3)
        (event,) = told
        assert isinstance(event, UpkeepFailed)
        broken.unlink()
        await until(blocked)
    assert told == [event]
