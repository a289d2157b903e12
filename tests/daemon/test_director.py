"""The director role with everything real but the IPVS table, which is one in memory.

It speaks the kernel's bytes, and can be told to refuse. nft, sysctls and addresses are those of a
network namespace made for the test.
"""

import asyncio
import errno
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.director_site import PORTS, configuration, listening, site
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.channel import (
    Failed,
    Report,
    Stop,
    Stopped,
)
from lvskeeper.daemon.coverage import online_cpus
from lvskeeper.daemon.director import Director
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.daemon.state import StateFile
from lvskeeper.daemon.table import Outcome, TableKeeper
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.health.pool import Pool
from lvskeeper.ipvs.dialect import FORK_V3, MAINLINE
from lvskeeper.ipvs.encode import Command
from lvskeeper.ipvs.operation import AddService, DelService
from lvskeeper.ipvs.placement import uncovered
from lvskeeper.ipvs.types import DestKey, ServiceKey
from lvskeeper.kernel.links import Placement, ensure_addresses
from lvskeeper.kernel.netlink import NetlinkSocket
from lvskeeper.kernel.nft_guard import Guard
from lvskeeper.observe.fullnat_events import OptionsPassedOver, SynCounters

pytestmark = pytest.mark.root

LIPS = "local_address_group lips {\n  10.9.0.1-2 back0\n}\n"
FULLNAT = configuration(*PORTS[:1], kind="FNAT", head=LIPS, extra="  laddr_group_name lips")


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up; ip link add back0 type veth peer name back1")
        run("ip link set back0 up")
        yield


@pytest.fixture
def kernel() -> FakeIpvs:
    return FakeIpvs(MAINLINE)


@pytest.mark.asyncio
async def test_a_server_leaves_with_its_failure_and_returns(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with listening(*PORTS) as servers, site(kernel, tmp_path) as here:
        assert (await here.applied(configuration(*PORTS))).operations == 4
        servers[PORTS[0]].close()
        await here.until(lambda: here.destinations() == list(PORTS[1:]))
        async with listening(PORTS[0]):
            await here.until(lambda: here.destinations() == list(PORTS))
    down, up = here.named("real_server_down")[0], here.named("real_server_up")[0]
    # A connection that waits to be accepted when the port closes is reset
    assert re.search("phase='connect', reason='connection (refused|reset)'", str(down))
    assert "127.0.0.1:8091" in str(up)


@pytest.mark.asyncio
async def test_results_of_one_moment_go_into_one_batch(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS))
        await here.until(lambda: not here.named("health_applied"))
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS))
        await here.until(lambda: len(here.named("real_server_down")) == len(PORTS))
        await here.until(lambda: here.named("health_applied"))
    assert here.named("quorum_lost")


@pytest.mark.asyncio
async def test_a_successor_adopts_without_a_write(kernel: FakeIpvs, tmp_path: Path) -> None:
    text = configuration(*PORTS)
    async with listening(*PORTS[1:]):
        async with site(kernel, tmp_path) as first:
            await first.applied(text)
            await first.until(lambda: first.destinations() == list(PORTS[1:]))
            await first.gone()
        async with site(kernel, tmp_path) as second:
            assert (await second.applied(text)).operations == 0
            assert second.destinations() == list(PORTS[1:])
    assert "destinations=2, down=1" in str(second.named("table_adopted")[0])


@pytest.mark.asyncio
async def test_a_successor_with_a_new_server_lets_it_in_at_once(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with listening(*PORTS[1:]):
        async with site(kernel, tmp_path) as first:
            await first.applied(configuration(*PORTS[:2]))
            await first.until(lambda: first.destinations() == [PORTS[1]])
        async with site(kernel, tmp_path) as second:
            await second.applied(configuration(*PORTS))
            assert second.destinations() == list(PORTS[1:])


@pytest.mark.asyncio
async def test_what_the_file_drops_while_nobody_runs_is_removed_at_the_start(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with site(kernel, tmp_path) as first:
        await first.applied(configuration(*PORTS) + configuration(PORTS[0], vip="198.51.100.2"))
    async with site(kernel, tmp_path) as second:
        await second.applied(configuration(*PORTS))
    assert [str(key) for key in kernel.table] == ["tcp 198.51.100.1:80"]


@pytest.mark.asyncio
async def test_a_result_amid_the_first_configuration_forgets_nothing_that_is_ours(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0]) + configuration(PORTS[1], vip="198.51.100.2"))
        await here.gone()
    assert len(kernel.table) == 2
    replaced = HealthLoop.replace

    async def slowly(
        health: HealthLoop, pools: Mapping[str, Pool[DestKey]], *at_once: Callable[[], None]
    ) -> None:
        await replaced(health, pools, *at_once)
        await here.until(lambda: here.named("health_applied"))

    monkeypatch.setattr(HealthLoop, "replace", slowly)
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0]))
        assert [str(key) for key in kernel.table] == ["tcp 198.51.100.1:80"]


@pytest.mark.asyncio
async def test_a_flush_is_repaired_and_told(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS))
        for key in list(kernel.table):
            kernel.apply([DelService(key)])
        await here.until(lambda: here.named("drift_repaired"))
        assert here.destinations() == list(PORTS)
    assert "differences=4" in str(here.named("drift_repaired")[0])


@pytest.mark.asyncio
async def test_a_refusal_is_told_with_its_cause_alone_and_again_where_its_service_was_gone(
    tmp_path: Path,
) -> None:
    kernel = FakeIpvs(MAINLINE, schedulers=frozenset({"rr"}))
    good = configuration(*PORTS)
    bad = configuration(*PORTS, vip="198.51.100.2").replace("lb_algo rr", "lb_algo sed")
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        for text, refused in ((good + bad, 4), (good, 0), (good + bad, 4)):
            assert (await here.applied(text)).refused == refused
        told = [str(event) for event in here.named("operation_refused")]
        assert len(told) == 2
        assert all("ip_vs_sed" in text for text in told)


class Stalling(FakeIpvs):
    """A kernel that stands still for *stall* seconds, once."""

    stall = 0.0

    def answer(self, request: bytes) -> list[bytes]:
        stall, self.stall = self.stall, 0.0
        time.sleep(stall)
        return super().answer(request)


@pytest.mark.asyncio
async def test_a_look_that_stood_still_does_not_put_the_next_one_off_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.estate.DRIFT_MOST", 0.5)
    kernel = Stalling(MAINLINE)
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS))
        kernel.stall = 1.0
        await here.until(lambda: not kernel.stall)
        kernel.load({})
        async with asyncio.timeout(3):
            await here.until(lambda: here.named("drift_repaired"))


@pytest.mark.asyncio
async def test_a_stop_removes_ours_only(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS))
        (entry,) = kernel.table.values()
        foreign = replace(entry.service, key=replace(entry.service.key, port=81))
        kernel.apply([AddService(foreign)])
        assert await here.ask(Stop(remove=True)) == Stopped(kept=False)
    assert [str(key) for key in kernel.table] == ["tcp 198.51.100.1:81"]
    assert StateFile(tmp_path).load().services == ()


@pytest.mark.asyncio
async def test_keep_on_stop_keeps(kernel: FakeIpvs, tmp_path: Path) -> None:
    head = "global_defs {\n  lvs_keep_on_stop yes\n}"
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS, head=head))
        assert await here.ask(Stop(remove=True)) == Stopped(kept=True)
    assert len(kernel.table) == 1
    assert len(StateFile(tmp_path).load().services) == 1


@pytest.mark.asyncio
async def test_a_refused_delete_stays_ours_and_is_tried_again(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwilling = True
    willing = kernel.handle

    def handle(request: bytes) -> int:
        return errno.EBUSY if unwilling and request[16] == Command.DEL_SERVICE else willing(request)

    monkeypatch.setattr(kernel, "handle", handle)
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS) + configuration(PORTS[0], vip="198.51.100.2"))
        assert (await here.applied(configuration(*PORTS))).refused == 1
        assert len(StateFile(tmp_path).load().services) == 2
        await asyncio.sleep(1)
        assert len(here.named("operation_refused")) == 1, "told once"
        unwilling = False
        await here.until(lambda: len(kernel.table) == 1)


@pytest.mark.asyncio
async def test_a_stop_without_a_kernel_says_what_is_left(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(kernel, tmp_path) as first:
        await first.applied(configuration(*PORTS))
    absent = FakeIpvs(MAINLINE)

    def nothing() -> NetlinkSocket:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(absent, "socket", nothing)
    async with site(absent, tmp_path) as second:
        assert isinstance(await second.apply(configuration(*PORTS)), Failed)
        stopped = await second.ask(Stop(remove=True))
    assert isinstance(stopped, Stopped)
    assert stopped.left
    assert len(StateFile(tmp_path).load().services) == 1, "it is still ours"


@pytest.mark.asyncio
async def test_local_addresses_and_sysctls_are_brought_back(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(FULLNAT)
        assert _lips() == 2
        run("ip address flush dev back0; sysctl -qw net.ipv4.ip_forward=0")
        await here.until(lambda: _lips() == 2)
        await here.until(lambda: len(here.named("sysctl_set")) >= 2)
        assert await here.ask(Stop(remove=True)) == Stopped(kept=False)
    assert _lips() == 0
    assert "lvskeeper" not in run("nft list tables")


@pytest.mark.asyncio
async def test_a_foreign_flush_of_the_ruleset_is_repaired_at_the_news_of_it(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.estate.DRIFT_INTERVAL", 3600)
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(FULLNAT)
        before = run("nft -s list table inet lvskeeper")
        process = int(run("nft flush ruleset & echo $!; wait"))
        await here.until(lambda: here.named("ruleset_repaired"))
        assert run("nft -s list table inet lvskeeper") == before
    assert f"by='nft[{process}]'" in str(here.named("ruleset_repaired")[0])


@pytest.mark.asyncio
async def test_a_guard_that_was_refused_is_tried_again_and_told_once(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.estate.SLOW_TURN", 0.05)
    tries: list[Guard] = []
    hold = Guard.hold

    def counted(self: Guard, *, cookies: bool = False) -> None:
        tries.append(self)
        hold(self, cookies=cookies)

    monkeypatch.setattr(Guard, "hold", counted)
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        with Guard() as other:
            await here.applied(FULLNAT)
            await here.until(lambda: len([one for one in tries if one is not other]) > 3)
            assert len(here.named("guard_missing")) == 1
        await here.until(lambda: "lvskeeper_guard" in run("nft list tables"))
        assert len(here.named("guard_missing")) == 1


@pytest.mark.asyncio
async def test_a_local_address_that_was_put_there_at_the_moment_of_a_kill_is_known_to_the_next(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(*given: Any) -> Placement:
        await ensure_addresses(*given)
        raise OperatorError("killed", status=ExitStatus.KERNEL)

    async with listening(*PORTS), site(kernel, tmp_path) as here:
        with monkeypatch.context() as patched:
            patched.setattr("lvskeeper.daemon.addresses.ensure_addresses", put)
            assert isinstance(await here.apply(FULLNAT), Failed)
            assert _lips() == 2
            await here.gone()
        await here.start()
        await here.applied(configuration(*PORTS[:1]))
        await here.until(lambda: _lips() == 0)


@pytest.mark.asyncio
async def test_a_local_address_that_a_reload_drops_leaves_also_after_a_restart(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(FULLNAT)
        with monkeypatch.context() as patched:
            patched.setattr("lvskeeper.daemon.addresses._count", lambda *_: 1)
            await here.applied(FULLNAT.replace("10.9.0.1-2", "10.9.0.1"))
            await here.until(lambda: bool(here.named("local_address_leaving")))
            assert _lips() == 2
            await here.gone()
            assert len(StateFile(tmp_path).load().addresses) == 2
        await here.start()
        await here.applied(FULLNAT.replace("10.9.0.1-2", "10.9.0.1"))
        await here.until(lambda: _lips() == 1)
        await here.until(lambda: len(StateFile(tmp_path).load().addresses) == 1)
        await here.ask(Stop(remove=True))
    assert _lips() == 0


@pytest.mark.asyncio
async def test_fullnat_without_nft_changes_nothing(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("lvskeeper.kernel.nft.SEARCH_PATH", "/nowhere")
    async with site(kernel, tmp_path) as here:
        answer = await here.apply(FULLNAT)
    monkeypatch.undo()
    assert isinstance(answer, Failed)
    assert answer.intact
    assert answer.status is ExitStatus.UNSUPPORTED
    assert "nftables" in answer.hint
    assert _lips() == 0
    assert kernel.table == {}


@pytest.mark.asyncio
async def test_a_refused_first_configuration_does_not_forget_what_is_ours(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(kernel, tmp_path) as first:
        await first.applied(configuration(*PORTS))
    saved = StateFile(tmp_path).load()
    monkeypatch.setattr("lvskeeper.daemon.estate.SLOW_TURN", 0.05)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        patch.setattr("lvskeeper.kernel.nft.SEARCH_PATH", "/nowhere")
        async with site(kernel, tmp_path) as second:
            assert isinstance(await second.apply(FULLNAT), Failed)
            await asyncio.sleep(0.3)
    assert saved.services
    assert StateFile(tmp_path).load() == saved


@pytest.mark.asyncio
async def test_a_lost_quorum_is_noted(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS[:1]))
        await here.until(lambda: here.named("health_applied"))
        (past,) = StateFile(tmp_path).load().past.values()
    assert not past.had_quorum


@pytest.mark.asyncio
async def test_state_that_cannot_be_saved_is_told_once_and_ends_nothing(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    stays = tmp_path / "director.new"
    stays.mkdir()
    async with listening(*PORTS) as servers, site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS[:1]))
        await here.applied(configuration(*PORTS))
        assert here.destinations() == [*PORTS]
        servers[PORTS[0]].close()
        await here.until(lambda: here.destinations() == [*PORTS[1:]])
        assert len(here.named("upkeep_failed")) == 1
        stays.rmdir()
        await here.until(lambda: StateFile(tmp_path).load().services)


@pytest.mark.asyncio
async def test_what_is_told_on_the_way_comes_before_the_answer(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    text = configuration(*PORTS)
    async with listening(*PORTS):
        async with site(kernel, tmp_path) as here:
            await here.applied(text)
        async with site(kernel, tmp_path, forwarding=True) as here:
            await here.applied(text)
            assert {"kernel_ready", "table_adopted"} <= {event.event for event in here.forwarded}


@pytest.mark.asyncio
async def test_a_result_on_its_way_outlives_a_reload_without_its_virtual_server(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    other = configuration(PORTS[1], vip="198.51.100.2")
    async with listening(*PORTS) as servers, site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0]) + other)
        assert isinstance(here.director, Director)
        table = here.director._estate.table
        assert table is not None
        async with table._lock:
            servers[PORTS[0]].close()
            await here.until(lambda: here.named("real_server_down"))
            reload = asyncio.create_task(here.applied(other))
            await here.until(lambda: len(StateFile(tmp_path).load().past) == 1)
        await reload
        servers[PORTS[1]].close()
        await here.until(lambda: len(here.named("real_server_down")) == 2)
        await here.until(lambda: here.destinations() == [])
        assert [str(key) for key in kernel.table] == ["tcp 198.51.100.2:80"]


@pytest.mark.asyncio
async def test_a_reload_that_nft_cannot_serve_leaves_the_running_one(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS))
        with monkeypatch.context() as patch:
            patch.setenv("PATH", "/nowhere")
            patch.setattr("lvskeeper.kernel.nft.SEARCH_PATH", "/nowhere")
            answer = await here.apply(FULLNAT)
        assert isinstance(answer, Failed)
        assert answer.intact
        for key in list(kernel.table):
            kernel.apply([DelService(key)])
        await here.until(lambda: kernel.table and here.destinations() == list(PORTS))


@pytest.mark.asyncio
async def test_scripts_follow_transitions(kernel: FakeIpvs, tmp_path: Path) -> None:
    log = tmp_path / "scripts.log"
    script = tmp_path / "script"
    script.write_text(
        f'#!/bin/sh\necho "$LVSKEEPER_EVENT $LVSKEEPER_REAL_SERVER $LVSKEEPER_ROUTER_ID" >>{log}\n'
    )
    script.chmod(0o755)
    text = configuration(
        PORTS[0],
        head="global_defs {\n  router_id d1\n}",
        extra=f'  omega\n  quorum_up "{script}" root\n  quorum_down "{script}" root',
    ).replace(
        "    TCP_CHECK",
        f'    notify_up "{script}" root\n    notify_down "{script}" root\n    TCP_CHECK',
    )
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: here.named("quorum_lost"))
        async with listening(PORTS[0]):
            await here.until(lambda: here.named("quorum_gained"))
            await here.until(lambda: len(here.named("script_done")) == 5)
            await here.ask(Stop(remove=True))
    rip = f"127.0.0.1:{PORTS[0]}"
    told = log.read_text().splitlines()
    # Those of one subject are in order.
    servers = [line for line in told if not line.startswith("quorum")]
    assert servers == [f"down {rip} d1", f"up {rip} d1", f"down {rip} d1"]
    quorums = [line.split()[0] for line in told if line.startswith("quorum")]
    assert quorums == ["quorum_up", "quorum_down", "quorum_up", "quorum_down"]


@pytest.mark.asyncio
async def test_a_quorum_is_told_of_when_its_service_is_there(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    early: list[bool] = []
    sync = TableKeeper.sync

    async def slow(table: TableKeeper, keys: AbstractSet[ServiceKey] | None = None) -> Outcome:
        await asyncio.sleep(0.5)
        early.append(told.exists())
        return await sync(table, keys)

    monkeypatch.setattr(TableKeeper, "sync", slow)
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS, extra=f'quorum_up "/usr/bin/touch {told}"'))
        await here.until(told.exists)
    assert early == [False]


@pytest.mark.asyncio
async def test_a_sorry_server_stands_in(kernel: FakeIpvs, tmp_path: Path) -> None:
    text = configuration(*PORTS[:2], extra="  sorry_server 127.0.0.1 8099")
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: here.destinations() == [8099])
        async with listening(PORTS[0]):
            await here.until(lambda: here.destinations() == [PORTS[0]])


@pytest.mark.asyncio
async def test_what_syn_cookies_did_is_told_on_demand(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with site(kernel, tmp_path) as here:
        await here.applied(configuration(PORTS[0], extra="  syn_proxy"))

        async def asked() -> bool:
            await here.channel.send(Report())
            return bool(here.named("syn_counters"))

        # The first look may be a second away.
        for _ in range(100):
            if await asked():
                break
            await asyncio.sleep(0.05)
        told = here.named("syn_counters")[0]
        assert isinstance(told, SynCounters)
        assert (told.syns, told.handshakes, told.flood) == (0, 0, "no")


@pytest.mark.asyncio
async def test_a_fullnat_kernel_gets_a_timeout_with_each_service_and_what_it_lacks_is_told(
    tmp_path: Path,
) -> None:
    kernel = FakeIpvs(FORK_V3)
    async with site(kernel, tmp_path) as here:
        await here.applied(FULLNAT.replace("lb_algo", "laddr_ports 5000-6000\n  lb_algo"))
        (entry,) = kernel.table.values()
        assert entry.service.established == kernel.timeouts.tcp
        assert len(entry.local_addresses) == 2
        missing = uncovered(entry.local_addresses, online_cpus())
        assert bool(here.named("local_address_gap")) is bool(missing)
        assert Command.ZERO not in kernel.writes
        (ignored,) = here.named("options_passed_over")
        assert isinstance(ignored, OptionsPassedOver)
        assert ignored.virtual_servers == "tcp 198.51.100.1:80"
        await here.applied(FULLNAT)
        assert len(here.named("options_passed_over")) == 1


def _lips() -> int:
    return run("ip -o -4 address show dev back0").count("10.9.0.")


@pytest.mark.asyncio
async def test_cookies_promise_what_the_real_server_offers(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1001)
        listener.bind(("127.0.0.1", PORTS[0]))
        listener.listen()
        async with site(kernel, tmp_path) as here:
            await here.applied(configuration(PORTS[0], extra="  syn_proxy"))
            await here.until(lambda: "synproxy mss 1001 " in run("nft list ruleset"))
            assert here.named("syn_proxy_mismatch") == []


@pytest.mark.asyncio
async def test_a_script_weighs_its_server_and_a_successor_adopts_the_weight(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    answer = tmp_path / "answer"
    answer.write_text("9")
    script = tmp_path / "check"
    script.write_text(f"#!/bin/sh\nread status < {answer}\nexit $status\n")
    script.chmod(0o755)
    text = (
        "virtual_server 198.51.100.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\ndelay_loop 0.1\n"
        "real_server 127.0.0.1 8091 {\nweight 5\nMISC_CHECK {\n"
        f"misc_path {script}\nmisc_dynamic\n}}\n}}\n}}\n"
    )

    def weights() -> list[int]:
        (entry,) = kernel.table.values()
        return [dest.weight for dest in entry.destinations.values()]

    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: weights() == [7])
        answer.write_text("1")
        await here.until(lambda: weights() == [])
        assert "phase='status', reason='exit status 1'" in str(here.named("real_server_down"))
        answer.write_text("4")
        await here.until(lambda: weights() == [2])
        assert "before=5, weight=7" in str(here.named("weight_changed")[0])
    answer.write_text("4")
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        assert weights() == [2]


@pytest.fixture
def without_dnspython() -> Iterator[None]:
    """Nobody has imported it, and whoever did before has the same again."""

    def taken() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "dns"]
        return {name: sys.modules.pop(name) for name in names}

    before = taken()
    yield
    taken()
    sys.modules.update(before)


@pytest.mark.asyncio
@pytest.mark.usefixtures("without_dnspython")
async def test_what_reads_answers_of_dns_is_imported_before_the_first_and_only_where_one_is_read(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    def text(more: str) -> str:
        check = f"DNS_CHECK {{\nname www.example.com\n{more}\n}}"
        return (
            "virtual_server 198.51.100.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\n"
            f"real_server 127.0.0.1 8091 {{\n{check}\n}}\n}}\n"
        )

    async with site(kernel, tmp_path) as here:
        await here.applied(text(""))
        assert "dns.message" not in sys.modules
        await here.applied(text("require_answer"))
        assert "dns.message" in sys.modules


@pytest.mark.asyncio
async def test_a_file_weighs_its_server_the_moment_it_changes(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    text = (
        f"track_file load {{\nfile {number}\n}}\n"
        "virtual_server 198.51.100.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\n"
        "real_server 127.0.0.1 8091 {\nweight 5\nFILE_CHECK {\ntrack_file load\nweight -1\n}\n"
        "FILE_CHECK {\ntrack_file load\nweight -100000000\n}\n}\n}\n"
    )

    def weights() -> list[int]:
        (entry,) = kernel.table.values()
        return [dest.weight for dest in entry.destinations.values()]

    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        assert weights() == [5]
        number.write_text("30")  # delay_loop is a minute
        await here.until(lambda: weights() == [])
        assert "FILE_CHECK" in str(here.named("real_server_down"))
        number.write_text("0")
        await here.until(lambda: weights() == [5])
        number.write_text("-2")
        await here.until(lambda: weights() == [200000007])
