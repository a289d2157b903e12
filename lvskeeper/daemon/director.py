"""The director role: probes, health, quorum, the IPVS table and FULLNAT.

It obeys the supervisor's messages and keeps the kernel as they say. When the channel ends without
a stop it leaves everything in place: the next director adopts it.
"""

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never, final

import msgspec

from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    Failed,
    Mail,
    Report,
    Stop,
    Stopped,
    SyncRole,
    ToDirector,
)
from lvskeeper.daemon.collector import COLLECTOR
from lvskeeper.daemon.director_view import encode_view, view_director
from lvskeeper.daemon.estate import Estate
from lvskeeper.daemon.forward import Forwarder
from lvskeeper.daemon.process import end_on_bug
from lvskeeper.daemon.questions import Ask, AskError, ListOverrides, Override, Reply, TakeFlight
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.table import Outcome
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe.log import Emit
from lvskeeper.observe.views import DirectorView, OverridesView

if TYPE_CHECKING:
    from lvskeeper.observe.probe_records import DirectorFlight

SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread may go on computing while the loop waits for its turn; usually 5 ms."""

BEAT_INTERVAL: Final = 1.0
"""Seconds between two beats to the supervisor."""

ORDER_PATIENCE: Final = 10.0
"""Seconds that an order waits for a reload to end."""


@final
class Director:
    """One life of the director role."""

    def __init__(
        self,
        channel: Channel,
        run_dir: Path,
        emit: Emit,
        client: Callable[[], IpvsClient] = IpvsClient,
    ) -> None:
        self._channel = channel
        self._estate = Estate(emit, run_dir, client, self._post)
        self._keep = False

    async def run(self) -> None:
        """Obey the supervisor until it says stop or is gone."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            background = [tasks.create_task(work) for work in (self._beat(), *self._estate.tend())]
            await self._obey()
            for task in background:
                task.cancel()
        await self._estate.close()
        self._channel.close()

    async def _obey(self) -> None:
        """Do what the supervisor says; its stop, or its end, drops what is being applied."""
        decoder: msgspec.json.Decoder[ToDirector] = msgspec.json.Decoder(ToDirector)
        applying: asyncio.Task[None] | None = None
        while (message := await self._channel.receive(decoder)) is not None:
            match message:
                case Apply():
                    applying = self._tasks.create_task(self._answer(message, after=applying))
                case Stop(remove=remove):
                    await _drop(applying)
                    await self._stop(remove=remove)
                    return
                case SyncRole(master=master):
                    self._estate.sync.follow(master=master)
                    self._estate.state_sync.follow(active=master)
                    await self._estate.upkeep.guarded("sync daemon", self._estate.follow)
                case Report():
                    self._estate.counters.report()
                    self._estate.state_sync.report()
                case Ask():
                    self._tasks.create_task(self._reply(message))
                case _:
                    assert_never(message)
        await _drop(applying)

    async def _reply(self, asked: Ask) -> None:
        """Answer a question about what is in force, or do what an operator orders."""
        now = asyncio.get_running_loop().time()
        problem = None
        view: DirectorView | OverridesView | DirectorFlight | None = None
        try:
            match asked.question:
                case TakeFlight():
                    view = await self._estate.health.flight()
                case ListOverrides():
                    view = self._estate.overrides.view(None, self._estate.virtuals, now)
                case Override():
                    view = await self._override(asked.question, asked.by)
                case _:
                    view = await self._look(now)
        except AskError as error:
            problem = error.problem
        if isinstance(view, DirectorView):
            body = await encode_view(view)
        else:
            body = msgspec.Raw(msgspec.json.encode(view))
        await self._send(Reply(asked.number, body, problem))

    async def _look(self, now: float) -> DirectorView:
        return await view_director(
            self._estate.virtuals,
            now,
            table=self._estate.table,
            capacity=self._estate.capacity.snapshot,
            cookies=self._estate.counters.snapshot,
            tally=self._estate.health.tally,
            state_sync=self._estate.state_sync.view(now),
            overrides=self._estate.overrides,
        )

    async def _override(self, asked: Override, by: str) -> OverridesView:
        """Do what is *asked*; return when the kernel has it. Raises :class:`AskError`."""
        try:
            async with asyncio.timeout(ORDER_PATIENCE):
                await self._estate.changing.acquire()
        except TimeoutError:
            hint = "Try again when it is done."
            raise AskError("unavailable", "a reload is under way", hint) from None
        try:
            now = asyncio.get_running_loop().time()
            subjects = self._estate.overrides.order(asked, list(self._estate.virtuals), now, by)
            await self._estate.virtuals.reorder({subject.virtual for subject in subjects})
            await self._estate.flush()
        except OperatorError as error:
            raise AskError("internal", error.message, error.hint) from error
        finally:
            self._estate.changing.release()
        return self._estate.overrides.view(subjects, self._estate.virtuals, now)

    async def _answer(self, message: Apply, *, after: "asyncio.Task[None] | None") -> None:
        if after is not None:
            await asyncio.wait({after})
        async with self._estate.changing:
            answer = await self._carry_out(message)
        await self._send(answer)

    async def _carry_out(self, message: Apply) -> Applied | Failed:
        # Nothing of what comes is garbage, and the collector would walk it again and again.
        with COLLECTOR.paused():
            try:
                return await self._bring_about(message)
            finally:
                # What is there now stays: out of the collector's sight, without a last look at it.
                gc.freeze()

    async def _bring_about(self, message: Apply) -> Applied | Failed:
        spec = msgspec.json.decode(message.spec, type=DirectorSpec)
        self._keep = spec.keep_on_stop
        intact = True
        try:
            outcome = Outcome(0, 0)
            if self._estate.needs_table(spec):
                table = await self._estate.open_table()
                if not table.traits.native_fullnat:
                    await self._estate.fullnat.prepare(spec)
                intact = False
                outcome = await self._estate.apply(spec, table)
        except OperatorError as error:
            return Failed(message.generation, error.message, error.hint, error.status, intact)
        self._estate.state_sync.configure(spec.state_sync)
        return Applied(
            message.generation,
            outcome.operations,
            outcome.refused,
            len(spec.virtual_servers),
            sum(len(item.real_servers) for item in spec.virtual_servers),
            changes=dict(outcome.kinds),
        )

    async def _beat(self) -> None:
        while True:
            good, total = self._estate.virtuals.count_up()
            await self._send(Beat(self._estate.rounds, good, total))
            await asyncio.sleep(BEAT_INTERVAL)

    async def _send(self, message: msgspec.Struct) -> None:
        # A supervisor that is gone ends the channel, and that ends the director.
        with contextlib.suppress(ConnectionError):
            await self._channel.send(message)

    def _post(self, mail: Mail) -> None:
        """Have a mail sent, in the order of these calls."""
        self._tasks.create_task(self._send(mail))

    async def _stop(self, *, remove: bool) -> None:
        kept = not remove or self._keep
        if not kept:
            await self._estate.state_sync.stop()
        if not kept and not self._estate.needs_table(DirectorSpec()):
            await self._send(Stopped())
            return
        left = () if kept else await self._estate.remove_all()
        await self._send(Stopped(kept=kept, left=left))


async def _drop(task: "asyncio.Task[None] | None") -> None:
    """Cancel *task* and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


def director_main(sock: socket.socket, run_dir: Path, emit: Emit) -> int:
    """Run the director role on *sock* until its supervisor stops it or is gone."""

    async def main() -> None:
        sys.setswitchinterval(SWITCH_INTERVAL)
        asyncio.get_running_loop().set_exception_handler(end_on_bug)
        channel = await Channel.connect(sock)
        await Director(channel, run_dir, Forwarder(channel, emit).tell).run()

    asyncio.run(main())
    return ExitStatus.OK
