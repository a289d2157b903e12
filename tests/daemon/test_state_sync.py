"""conntrackd under its keeper, on two directors in network namespaces."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from support.sync_pair import (
    DOWNLOAD,
    ECHO,
    LOSS,
    PORTS,
    SYNC,
    SYNC_DEVICE,
    VIP,
    VIP6,
    Datagrams,
    Flow,
    Pair,
    Servers,
)

from lvskeeper.daemon import state_sync
from lvskeeper.daemon.roles import StateSyncSpec
from lvskeeper.daemon.state_sync import StateSyncKeeper
from lvskeeper.fullnat import conntrackd as pure
from lvskeeper.fullnat.outlook import Doubt
from lvskeeper.kernel import conntrackd as kernel
from lvskeeper.kernel.conntrackd import Conntrackd
from lvskeeper.kernel.hold_switch import HoldSwitch
from lvskeeper.kernel.nft import Nft
from lvskeeper.observe import fullnat_events as told
from lvskeeper.observe.events import Event
from lvskeeper.observe.views import StateSyncView
from lvskeeper.units import parse_address

E = TypeVar("E", bound=Event)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        shutil.which("conntrackd", path=kernel.PATH) is None, reason="no conntrackd"
    ),
]

PATIENCE: Final = 15.0
START_TIME: Final = 60.0
"""Seconds for a daemon to start, or to start a role again, on a busy machine."""
EACH: Final = 2
SILENCE: Final = 2.5
"""Seconds after which a peer that says something each second is lost."""


def spec(side: str, **more: Any) -> StateSyncSpec:
    other = "b" if side == "a" else "a"
    addresses = [parse_address(SYNC[who]) for who in (side, other)]
    return StateSyncSpec(SYNC_DEVICE, addresses[0], **{"peer": addresses[1]} | more)


class Side:
    """A keeper of one director, looked at again and again."""

    def __init__(self, pair: Pair, side: str, folder: str = "run", **more: Any) -> None:
        self.folder = pair.folder / f"{folder}-{side}"
        self.folder.mkdir(exist_ok=True)
        self.events: list[Event] = []
        self._pair, self._side = pair, side
        with pair.inside(side):
            self._nft = Nft()
        self.keeper = StateSyncKeeper(self.events.append, self.folder, self._start, held=self._held)
        self.keeper.configure(spec(side, **more))
        self._task = asyncio.create_task(self._look_on())

    def _start(self, config: Path, log: Path) -> int:
        with self._pair.inside(self._side):
            return kernel.start(config, log)

    def _held(self) -> tuple[int, int] | None:
        servers, clients = map(self._nft.counted, ("held_servers", "held_clients"))
        return None if servers is None or clients is None else (servers, clients)

    def told(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def _look_on(self) -> None:
        while True:
            await self.keeper.look()
            await asyncio.sleep(0.1)

    @property
    def names(self) -> list[str]:
        return [event.NAME for event in self.events]

    @property
    def view(self) -> StateSyncView:
        view = self.keeper.view(asyncio.get_running_loop().time())
        assert view is not None
        return view

    def process(self) -> int:
        return Conntrackd(self.folder / "conntrackd.ctl").process()

    async def leave(self) -> None:
        """End like a director that is killed."""
        self._task.cancel()
        await asyncio.wait({self._task})
        self._nft.close()

    async def stop(self) -> None:
        await self.leave()
        await self.keeper.stop()


CONFIG: Final = f"""
vrrp_instance A {{
    interface front
    virtual_router_id 3
    virtual_ipaddress {{
        192.0.2.77/24
    }}
}}
state_sync {{
    interface {SYNC_DEVICE}
    address {SYNC["a"]}
    peer {SYNC["b"]}
}}
"""


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - of other processes there are no news
            await asyncio.sleep(0.05)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as folder, Pair(Path(folder)) as pair:
        yield pair


@contextlib.asynccontextmanager
async def serving(pair: Pair) -> AsyncIterator[Servers]:
    servers = Servers(pair)
    await servers.start()
    try:
        yield servers
    finally:
        await servers.stop()


@contextlib.asynccontextmanager
async def both(pair: Pair, **more: Any) -> AsyncIterator[dict[str, Side]]:
    sides = {name: Side(pair, name, **more) for name in ("a", "b")}
    try:
        await until(lambda: all(side.told(told.StateSyncPeerFound) for side in sides.values()))
        yield sides
    finally:
        for side in sides.values():
            await side.stop()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_connections_of_all_kinds_survive_a_fail_over_and_the_fail_back(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pure, "PEER_PATIENCE", SILENCE)

    async def work() -> None:
        async with serving(pair) as servers, both(pair) as sides:
            sides["a"].keeper.follow(active=True)
            sides["b"].keeper.follow(active=False)
            flows: list[Flow | Datagrams] = [Datagrams(pair) for _ in range(EACH)]
            flows += [
                Flow(pair, servers, port, number, vip)
                for vip in (VIP, VIP6)
                for port in PORTS
                for number in range(EACH)
            ]
            for flow in flows:
                await flow.open()
            await until(lambda: pair.known("b") == len(flows))

            async def survivors() -> int:
                servers.greet_again()
                return sum(await asyncio.gather(*(flow.alive() for flow in flows)))

            await sides["a"].leave()
            os.kill(sides["a"].process(), signal.SIGKILL)
            pair.cut("a")
            pair.serve_by("b")
            with pair.inside("b"):
                sides["b"].keeper.follow(active=True)
            (took_over,) = sides["b"].told(told.StateSyncTookOver)
            assert (took_over.own, took_over.hold, took_over.doubts) == (0, "3.0 s", "")
            # Those of the sync link are among them.
            assert len(flows) <= took_over.known <= len(flows) + 3
            assert await survivors() == len(flows)
            await until(lambda: sides["b"].told(told.StateSyncHoldEnded))
            await until(lambda: "state_sync_peer_lost" in sides["b"].names)
            pair.replace("a")
            sides["a"] = Side(pair, "a")
            sides["a"].keeper.follow(active=False)
            await until(lambda: pair.known("a") == len(flows))
            pair.cut("b")
            pair.serve_by("a")
            assert await survivors() == len(flows)
            for flow in flows:
                await flow.close()

    run(work())


def test_a_conntrackd_that_runs_is_adopted(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair) as sides:
            before = sides["a"].process()
            await sides["a"].leave()
            sides["a"] = Side(pair, "a")
            await until(lambda: sides["a"].names)
            assert [one.how for one in sides["a"].told(told.StateSyncStarted)] == ["adopted"]
            assert sides["a"].process() == before

    run(work())


def test_directors_find_one_another_by_multicast(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair, peer=None, group=parse_address("225.0.0.50")) as sides:
            assert all("state_sync_peer_found" in side.names for side in sides.values())

    run(work())


def test_one_with_another_configuration_is_replaced(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair) as sides:
            before = sides["a"].process()
            await sides["a"].leave()
            sides["a"] = Side(pair, "a", port=3999)
            await until(lambda: "state_sync_started" in sides["a"].names)
            assert sides["a"].process() not in {0, before}

    run(work())


def test_a_killed_conntrackd_is_started_again_and_its_peer_is_told_everything(pair: Pair) -> None:
    async def work() -> None:
        async with serving(pair) as servers, both(pair) as sides:
            os.kill(sides["a"].process(), signal.SIGKILL)
            flow = Flow(pair, servers, ECHO, 0)
            await flow.open()
            await until(lambda: sides["a"].names.count("state_sync_started") == 2)
            assert sides["a"].names.count("state_sync_lost") == 1
            await until(lambda: pair.entries("b") == 1)
            await flow.close()

    run(work())


def test_a_conntrackd_that_answers_no_more_is_replaced(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "ANSWER_TIME", 0.3)
    monkeypatch.setattr(state_sync, "STUCK", 1.0)
    monkeypatch.setattr(state_sync, "PAUSES", (0.1, 0.2))

    async def work() -> None:
        side = Side(pair, "a")
        await until(lambda: "state_sync_started" in side.names)
        process = side.process()
        os.kill(process, signal.SIGSTOP)
        try:
            await until(lambda: side.names.count("state_sync_started") == 2)
            assert side.process() not in {0, process}
            assert side.names.count("state_sync_lost") == 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            await side.stop()

    run(work())


def test_a_big_table_may_take_its_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """To take all of it as own takes longer than any other answer."""
    file = pair.folder / "entries"
    file.write_text(
        "".join(
            f"-I -p tcp -s 10.99.{number >> 8}.{number & 255} -d {VIP} --sport 4000 --dport 80"
            " -t 300 --state ESTABLISHED -u ASSURED,SEEN_REPLY\n"
            for number in range(10_000)
        )
    )
    pair.run("a", f"conntrack -R {file} >/dev/null")
    monkeypatch.setattr(kernel, "ANSWER_TIME", 0.04)

    async def work() -> None:
        side = Side(pair, "a")
        side.keeper.follow(active=True)
        try:
            await until(lambda: side.keeper.view(0.0) and side.view.age is not None)
            await until(lambda: side.view.own >= 10_000)
            assert side.told(told.StateSyncStarted)
        finally:
            await side.stop()

    run(work())


def test_conntrackd_does_not_run_ahead_of_adverts(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair) as sides:
            assert os.sched_getscheduler(sides["a"].process()) == os.SCHED_OTHER

    run(work())


def test_who_gives_up_forgets_and_takes_nothing_from_either_kernel(pair: Pair) -> None:
    async def work() -> None:
        async with serving(pair) as servers, both(pair) as sides:
            flow = Flow(pair, servers, ECHO, 0)
            await flow.open()
            await until(lambda: sides["a"].view.own)
            await until(lambda: pair.entries("b") == 1)
            sides["b"].keeper.follow(active=True)
            await until(lambda: sides["b"].view.own)
            sides["a"].keeper.follow(active=False)
            await until(lambda: sides["a"].view.own == 0)
            assert (pair.entries("a"), pair.entries("b")) == (1, 1)
            await flow.close()

    run(work())


def test_a_backup_counts_as_the_peers_what_conntrackd_takes_for_its_own(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "entries", lambda: pair.entries("b"))

    async def work() -> None:
        async with serving(pair) as servers, both(pair) as sides:
            flow = Flow(pair, servers, ECHO, 0)
            await flow.open()
            sides["b"].keeper.follow(active=False)
            await until(lambda: sides["b"].view.from_peer == 1)
            # As by itself after it has missed events
            await Conntrackd(sides["b"].folder / "conntrackd.ctl").ask(kernel.Request.RESYNC)
            await until(lambda: sides["b"].view.own == 1)
            assert sides["b"].view.from_peer == 1
            await flow.close()

    run(work())


def test_an_entry_that_runs_out_where_nobody_serves_any_more_lives_on_at_the_peer(
    pair: Pair,
) -> None:
    async def work() -> None:
        async with serving(pair) as servers, both(pair) as sides:
            flows = [Flow(pair, servers, ECHO, number) for number in range(2)]
            for flow in flows:
                await flow.open()
            await until(lambda: pair.entries("b") == len(flows))
            ports = [line.partition("sport=")[2].split()[0] for line in entries_of(pair, "a")]
            # The control: who serves tells the peer what ended.
            pair.run("a", f"conntrack -D -p tcp --sport {ports[0]}")
            await until(lambda: pair.entries("b") == 1)
            await until(lambda: sides["a"].view.own == 1)
            sides["a"].keeper.follow(active=False)
            pair.serve_by("b")
            sides["b"].keeper.follow(active=True)
            await until(lambda: sides["a"].view.own == 0)
            pair.run("a", f"conntrack -D -p tcp --sport {ports[1]}")
            heard = sides["b"].view.received
            await until(lambda: sides["b"].view.received > heard + 1)
            assert pair.entries("b") == 1
            for flow in flows:
                await flow.close()

    run(work())


@pytest.mark.parametrize("held", [True, False])
def test_a_connection_whose_entry_comes_late_lives_where_its_packets_are_held(
    pair: Pair, *, held: bool
) -> None:
    async def work() -> None:
        async with serving(pair) as servers, both(pair, hold=1.0) as sides:
            sides["b"].keeper.follow(active=False)
            os.kill(sides["b"].process(), signal.SIGSTOP)
            flows = [Flow(pair, servers, ECHO, 0, vip) for vip in (VIP, VIP6)]
            flows += [Flow(pair, servers, DOWNLOAD, 0, vip) for vip in (VIP, VIP6)] if held else []
            for flow in flows:
                await flow.open()
            if held:
                with pair.inside("b"):
                    switch = HoldSwitch()
                assert switch.turn_on(60.0)
                switch.close()
            pair.serve_by("b")
            sides["b"].keeper.follow(active=True)
            alive = [asyncio.create_task(flow.alive()) for flow in flows]

            def counted() -> tuple[int, int]:
                return sides["b"]._held() or (0, 0)

            await until(lambda: not held or all(counted()))
            if not held:
                assert not any(await asyncio.gather(*alive))
            os.kill(sides["b"].process(), signal.SIGCONT)
            assert await asyncio.gather(*alive) == [held] * len(flows)
            await until(lambda: sides["b"].told(told.StateSyncHoldEnded))
            (ended,) = sides["b"].told(told.StateSyncHoldEnded)
            assert (ended.servers > 0, ended.clients > 0) == (held, held)
            for flow in flows:
                await flow.close()

    run(work())


def test_no_connection_is_missed_where_the_link_loses_packets(pair: Pair) -> None:
    async def work() -> None:
        async with serving(pair) as servers, both(pair):
            for side in ("a", "b"):
                pair.run(side, "nft -f -", data=LOSS)
            flows: list[Flow] = []

            def lost() -> bool:
                found = pair.run("b", "nft list counter inet loss lost")
                return int(found.partition("packets ")[2].split()[0]) > 1

            while not lost():
                assert len(flows) < 1000
                batch = [Flow(pair, servers, ECHO, len(flows) + number) for number in range(20)]
                flows += batch
                for flow in batch:
                    await flow.open()
            await until(lambda: pair.known("b") == len(flows))
            for flow in flows:
                await flow.close()

    run(work())


def test_it_tells_whether_a_fail_over_would_keep_connections(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pure, "PEER_PATIENCE", SILENCE)

    async def work() -> None:
        async with both(pair) as sides:
            await until(lambda: sides["a"].told(told.StateSyncKeeps))
            assert not sides["a"].told(told.StateSyncCuts)
            sides["a"].keeper.report()
            view = sides["a"].view
            assert (view.keeps, view.peer, view.running, view.active) == (True, True, True, None)
            assert view.age is not None
            assert view.age < PATIENCE
            assert view.link == f"{SYNC_DEVICE} {SYNC['a']} to {SYNC['b']}"
            (report,) = sides["a"].told(told.StateSyncReport)
            assert (report.keeps, report.peer, report.serves) == ("yes", "yes", "unknown")
            await sides["b"].leave()
            os.kill(sides["b"].process(), signal.SIGKILL)
            await until(lambda: sides["a"].told(told.StateSyncCuts))
            (cuts,) = sides["a"].told(told.StateSyncCuts)
            assert sides["a"].view.doubts == (cuts.reasons,) == (Doubt.SILENT,)
            assert not sides["a"].view.keeps
            sides["b"] = Side(pair, "b")
            await until(lambda: len(sides["a"].told(told.StateSyncKeeps)) == 2)

    run(work())


def entries_of(pair: Pair, side: str) -> list[str]:
    return pair.run(side, f"conntrack -L -d {VIP} 2>/dev/null").splitlines()


OVER_IPV6: Final = (
    "-p tcp --state ESTABLISHED -s 2001:db8:c::10 -d 2001:db8:f::1 "
    "--dst-nat fd01::2 --src-nat fd00::10"
)
OF_SCTP: Final = (
    f"-p sctp --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -s 192.0.2.10 -d {VIP} "
    "--dst-nat 10.0.0.2 --src-nat 10.9.0.10"
)


@pytest.mark.parametrize(
    ("entry", "listing"), [(OVER_IPV6, "-f ipv6"), (OF_SCTP, "-p sctp")], ids=["IPv6", "SCTP"]
)
def test_the_filter_lets_it_through(pair: Pair, entry: str, listing: str) -> None:
    async def work() -> None:
        async with both(pair):
            pair.run("a", f"conntrack -I {entry} --sport 1234 --dport 80 -t 300 -u ASSURED")
            await until(lambda: pair.entries("b", listing) == 1)

    run(work())


def test_what_traffic_keeps_alive_here_stays_alive_at_the_peer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pure, "LEAST_REFRESH", 0.3)
    monkeypatch.setattr(kernel, "shortest_timeout", lambda: 1.0)
    for side in ("a", "b"):
        names = ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established")
        pair.run(
            side, "sysctl -qw " + " ".join(f"net.netfilter.nf_conntrack_{name}=4" for name in names)
        )

    async def work() -> None:
        async with serving(pair) as servers, both(pair):
            flows: list[Flow | Datagrams] = [Datagrams(pair), Flow(pair, servers, ECHO, 0)]
            for flow in flows:
                await flow.open()
            for _ in range(16):
                assert all([await flow.alive() for flow in flows])
                await asyncio.sleep(0.5)
            assert pair.entries("b") == len(flows)
            for flow in flows:
                await flow.close()

    run(work())


def test_a_clean_stop_ends_it(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair) as sides:
            await sides["a"].stop()
            assert sides["a"].process() == 0
            assert not (sides["a"].folder / "conntrackd.lock").exists()
            assert sides["a"].names[-1] == "state_sync_stopped"

    run(work())


def test_a_configuration_without_it_ends_what_an_earlier_director_left(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair) as sides:
            await sides["a"].leave()
            sides["a"] = Side(pair, "a")
            sides["a"].keeper.configure(None)
            await until(lambda: sides["a"].process() == 0)
            assert sides["a"].names == ["state_sync_stopped"]

    run(work())


def test_an_absent_program_is_told_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "PROGRAM", "no-such-program")

    async def work() -> None:
        side = Side(pair, "a")
        side.keeper._pause = 0.0
        await until(lambda: side.names)
        side.keeper._next_try = 0.0
        await asyncio.sleep(0.5)
        assert side.names == ["state_sync_lost", "state_sync_cuts"]
        assert "install the package conntrackd" in str(side.events[0])
        assert "not there" in side.view.doubts[0]
        await side.stop()

    run(work())


def test_what_conntrackd_says_of_a_wrong_interface_is_told(pair: Pair) -> None:
    async def work() -> None:
        side = Side(pair, "a")
        side.keeper.configure(replace(spec("a"), interface="nosuch0"))
        await until(lambda: side.names)
        assert side.names == ["state_sync_lost", "state_sync_cuts"]
        assert "nosuch0" in str(side.events[0])
        await side.stop()

    run(work())


def test_an_external_conntrackd_is_watched_and_left_alone(pair: Pair) -> None:
    async def work() -> None:
        async with both(pair) as sides:
            process, path = sides["a"].process(), sides["a"].folder / "conntrackd.ctl"
            await sides["a"].leave()
            watcher = Side(pair, "a", "watcher")
            watcher.keeper.configure(StateSyncSpec(external=True, socket=str(path)))
            await until(lambda: watcher.told(told.StateSyncPeerFound))
            await watcher.stop()
            assert [one.how for one in watcher.told(told.StateSyncStarted)] == ["external"]
            assert sides["a"].process() == process

    run(work())


def test_the_daemon_runs_it_and_a_killed_director_takes_it_along(pair: Pair) -> None:
    run_dir, file, log = pair.folder / "run", pair.folder / "a.conf", pair.folder / "a.log"
    run_dir.mkdir()
    file.write_text(CONFIG)
    control = Conntrackd(run_dir / "conntrackd.ctl")
    command = [sys.executable, "-m", "lvskeeper", "run", "-f", str(file)]
    command += ["--run-dir", str(run_dir)]
    with log.open("wb") as output, pair.inside("a"):
        daemon = subprocess.Popen(command, stdout=output, stderr=output)

    async def work() -> None:
        await until(control.process, START_TIME)
        before = control.process()
        await until(lambda: log.read_text().count("state_sync_started") == 1, START_TIME)
        daemon.send_signal(signal.SIGUSR1)
        await until(lambda: "state_sync_report" in log.read_text(), START_TIME)
        shown = [*command[:3], "status", "sync", "--run-dir", str(run_dir)]
        text = (await asyncio.to_thread(subprocess.check_output, shown)).decode()
        assert "State sync (as of" in text
        assert "not configured" not in text
        status = Path("/proc", str(before), "status").read_text()  # noqa: ASYNC240 - in memory
        os.kill(int(status.partition("PPid:")[2].split()[0]), signal.SIGKILL)
        await until(lambda: log.read_text().count("state_sync_started") == 2, START_TIME)
        assert control.process() not in {0, before}
        daemon.terminate()
        await until(lambda: not control.process(), START_TIME)
        await until(lambda: daemon.poll() is not None, START_TIME)

    try:
        run(work())
    finally:
        daemon.kill()
        daemon.wait(5)
