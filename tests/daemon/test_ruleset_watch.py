"""Our table beside those of others, which come and go; each test in a network namespace."""

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.loader import load_file
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.ruleset_watch import UNKNOWN, RulesetWatch
from lvskeeper.kernel.libnftables import Context
from lvskeeper.kernel.nft_monitor import NftMonitor
from lvskeeper.observe.events import Event
from lvskeeper.observe.fullnat_events import RulesetRepaired

pytestmark = pytest.mark.root

PATIENCE: Final = 20.0
"""Seconds without news after which these tests fail: no fallback comes to their aid before."""
SERVICES: Final = 20

# What firewalld 1.3 makes of its public zone with masquerading, in its own order; shortened.
FIREWALLD: Final = """
add table inet firewalld
delete table inet firewalld
add table inet firewalld
add chain inet firewalld mangle_PREROUTING { type filter hook prerouting priority -140; }
add chain inet firewalld nat_PREROUTING { type nat hook prerouting priority -90; }
add chain inet firewalld nat_POSTROUTING { type nat hook postrouting priority 110; }
add chain inet firewalld nat_POST_public
add chain inet firewalld nat_POST_public_allow
add rule inet firewalld nat_POSTROUTING jump nat_POST_public
add rule inet firewalld nat_POST_public jump nat_POST_public_allow
add rule inet firewalld nat_POST_public_allow meta nfproto ipv4 oifname != "lo" masquerade
add chain inet firewalld filter_INPUT { type filter hook input priority 10; }
add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }
add rule inet firewalld filter_INPUT ct state { established, related } accept
add rule inet firewalld filter_INPUT iifname "lo" accept
add rule inet firewalld filter_INPUT ct state invalid drop
add rule inet firewalld filter_INPUT tcp dport { 22, 80 } ct state { new, untracked } accept
add rule inet firewalld filter_INPUT reject with icmpx admin-prohibited
add rule inet firewalld filter_FORWARD ct state { established, related } accept
"""

# What dockerd makes through iptables-nft: tables `ip nat` and `ip filter`, in several transactions.
DOCKER: Final = (
    """
add table ip nat
add chain ip nat DOCKER
add chain ip nat PREROUTING { type nat hook prerouting priority -100; policy accept; }
add chain ip nat POSTROUTING { type nat hook postrouting priority 100; policy accept; }
add rule ip nat PREROUTING fib daddr type local counter jump DOCKER
add rule ip nat POSTROUTING oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade
""",
    """
add table ip filter
add chain ip filter DOCKER
add chain ip filter DOCKER-USER
add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
add rule ip filter FORWARD counter jump DOCKER-USER
add rule ip filter FORWARD oifname "docker0" counter jump DOCKER
add rule ip filter DOCKER-USER counter return
""",
    """
add rule ip nat DOCKER iifname != "docker0" tcp dport 8080 counter dnat to 172.17.0.2:80
add rule ip filter DOCKER ip daddr 172.17.0.2 iifname != "docker0" tcp dport 80 counter accept
""",
)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        yield


@pytest.fixture
def spec(tmp_path: Path) -> DirectorSpec:
    services = "".join(
        f"virtual_server 198.51.100.1 {port} {{\n  protocol TCP\n  lb_kind FNAT\n"
        "  laddr_group_name lips\n  real_server 127.0.0.1 8091 {\n  }\n}\n"
        for port in range(80, 80 + SERVICES)
    )
    file = tmp_path / "site.conf"
    file.write_text(f"local_address_group lips {{\n  10.9.0.1-2\n}}\n{services}")
    loaded = load_file(str(file))
    assert not loaded.errors
    return msgspec.json.decode(loaded.spec, type=DirectorSpec)


class Life:
    """A keeper whose table is looked after, at news only."""

    def __init__(self) -> None:
        self.repairs: list[RulesetRepaired] = []
        self.told = asyncio.Event()
        self.keeper = FullnatKeeper(self.note)

    def note(self, event: Event) -> None:
        if isinstance(event, RulesetRepaired):
            self.repairs.append(event)
            self.told.set()

    async def look(self) -> None:
        while True:
            await self.keeper.check_drift()
            await self.keeper.changed(PATIENCE)

    async def until_repaired(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE / 2):
            while len(self.repairs) < count:
                self.told.clear()
                await self.told.wait()


@asynccontextmanager
async def living(spec: DirectorSpec) -> AsyncIterator[Life]:
    life = Life()
    await life.keeper.prepare(spec)
    await life.keeper.settle(spec, frozenset())
    await life.keeper.check_drift()
    task = asyncio.create_task(life.look())
    await asyncio.sleep(0)
    try:
        yield life
    finally:
        task.cancel()
        await asyncio.wait({task})
        life.keeper.close()


def ours() -> str:
    return run("nft -s list table inet lvskeeper")


def theirs() -> list[str]:
    """Return what there is besides our tables."""
    tables = run("nft list tables").splitlines()
    return [run(f"nft -s list {table}") for table in tables if "lvskeeper" not in table]


@pytest.mark.asyncio
async def test_a_foreign_flush_is_repaired_at_once_and_its_maker_is_named(
    spec: DirectorSpec, tmp_path: Path
) -> None:
    flusher = tmp_path / "firewall.sh"
    shutil.copy(run("command -v nft").strip(), flusher)
    async with living(spec) as life:
        before = ours()
        took = []
        for count in range(1, 6):
            started = time.monotonic()
            process = await asyncio.to_thread(run, f"{flusher} flush ruleset & echo $!; wait")
            await life.until_repaired(count)
            took.append(time.monotonic() - started)
            assert life.repairs[-1].by == f"firewall.sh[{int(process)}]"
            assert life.repairs[-1].difference == "the table is missing"
        assert min(took) < 0.1, "with the start of the program"
        assert ours() == before


@pytest.mark.asyncio
async def test_fifty_flushes_in_a_row_leave_the_table_in_place(spec: DirectorSpec) -> None:
    async with living(spec) as life:
        before = ours()
        await asyncio.to_thread(run, "for i in $(seq 50); do nft flush ruleset || exit 1; done")
        for _ in range(500):
            if "table inet lvskeeper\n" in await asyncio.to_thread(run, "nft list tables"):
                break
            await asyncio.sleep(0.01)
        assert ours() == before
        assert len(life.repairs) > 1


@pytest.mark.parametrize("loads", [(FIREWALLD,), DOCKER], ids=["firewalld", "docker"])
@pytest.mark.asyncio
async def test_rules_of_others_and_ours_leave_one_another_alone(
    spec: DirectorSpec, loads: tuple[str, ...]
) -> None:
    for load in loads:
        run("nft -f -", data=load)
    alone = theirs()
    assert alone
    run("nft flush ruleset")
    async with living(spec) as life:
        before = ours()
        for load in loads:
            await asyncio.to_thread(run, "nft -f -", data=load)
        await life.keeper.check_drift()
        assert theirs() == alone
        assert ours() == before
        assert life.repairs == []
        await asyncio.to_thread(run, "nft delete table inet lvskeeper")
        await life.until_repaired(1)
        assert theirs() == alone
        assert ours() == before
        await life.keeper.remove()
        assert theirs() == alone
        assert "lvskeeper" not in run("nft list tables")


@pytest.mark.asyncio
async def test_a_foreign_load_of_100000_elements_does_not_stall_the_loop(
    spec: DirectorSpec,
) -> None:
    content = ",".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000))
    load = "add table ip f; add set ip f s { type ipv4_addr; }; add element ip f s"
    async with living(spec) as life:
        busy = time.thread_time()
        await asyncio.to_thread(run, "nft -f -", data=f"{load} {{ {content} }}")
        await life.keeper.check_drift()
        assert time.thread_time() - busy < 0.05, "of the loop's own time, over the whole load"
        assert life.repairs == []


@pytest.mark.asyncio
async def test_the_makers_are_the_others_since_a_generation() -> None:
    watch = RulesetWatch()
    watch.start()
    watch.start()
    context = Context()
    context.run("add table inet a\n")
    first, second = (int(run(f"nft add table inet {name} & echo $!; wait")) for name in "bc")
    await watch.changed(PATIENCE)
    generation = watch._commits[0].generation
    assert watch.makers(0) == f"nft[{second}], nft[{first}]"
    assert watch.makers(generation + 1) == f"nft[{second}]"
    assert watch.makers(generation + 2) == UNKNOWN
    watch.stop()
    watch.stop()
    run("nft flush ruleset")
    started = time.monotonic()
    await watch.changed(0.05)
    assert time.monotonic() - started >= 0.04, "nobody listens"


@pytest.mark.asyncio
async def test_news_that_were_lost_wake_and_name_nobody() -> None:
    watch = RulesetWatch()
    watch.start()
    assert isinstance(watch._monitor, NftMonitor)
    watch._monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    run("for i in 1 2 3 4 5 6 7 8; do nft add table inet t$i; done")
    await watch.changed(PATIENCE)
    assert watch.makers(0) == UNKNOWN
    watch.stop()
