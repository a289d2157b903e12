"""The router role: VRRP, virtual addresses, announcements, tracking, notifies.

It obeys the supervisor's messages. When the channel ends, in order or not, it leaves in order: a
router without a supervisor has nobody who checks real servers, so a peer is to take over.
"""

import asyncio
import contextlib
import gc
import resource
import socket
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Final, assert_never, final

import msgspec

from lvskeeper.daemon.accept_guard import AcceptGuard
from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    DirectorBeat,
    Failed,
    Report,
    Stop,
    Stopped,
    ToRouter,
)
from lvskeeper.daemon.forward import Forwarder
from lvskeeper.daemon.guard import Guard
from lvskeeper.daemon.heralds import Heralds
from lvskeeper.daemon.hold_guard import HoldGuard
from lvskeeper.daemon.process import end_on_bug
from lvskeeper.daemon.questions import Ask, Reply, TakeFlight
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.daemon.router_view import view_router
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.trackers import Trackers
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.scheduling import set_scheduling
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.states import Fault, FaultKind, State
from lvskeeper.vrrp.types import InstanceKey

BEAT_INTERVAL: Final = 1.0
"""Seconds between two beats to the supervisor."""

UPKEEP_INTERVAL: Final = 1.0
"""Seconds between two attempts at what did not work: sockets, VMACs."""

SECOND_LOOK: Final = 0.5
"""Seconds of an own turning loop before the director's silence is believed."""

TABLE_PATIENCE: Final = 5.0
"""Seconds that nft gets at a stop to remove our table."""

SCRIPT_PATIENCE: Final = 2.0
"""Seconds that notify scripts get to end at a stop."""

MAX_FILES: Final = 65_536
"""Open files; an instance with a VMAC has five, and the usual limit is 1,024."""

_DIRECTOR: Final = Fault(FaultKind.DIRECTOR)


@final
class RouterRole:
    """One life of the router role."""

    def __init__(self, channel: Channel, run_dir: Path, emit: Emit) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._shell = Shell(emit, self)
        self._guard = Guard(self._shell, run_dir)
        self._heralds = Heralds(self._shell.tell, self._send_soon)
        self._trackers = Trackers(self._shell.on_status, self._heralds.on_track)
        self._accept = AcceptGuard(self._shell.tell)
        self._strays = HoldGuard(self._shell.tell)
        self._spec: RouterSpec | None = None
        self._retiring = False
        """A reload is removing instances."""
        self._beaten = self._loop.time()
        """When the director was last known to be alive."""
        self._suspected = inf
        """When the director was first found silent for too long."""
        self._silent = False
        self._first = inf
        """When it got its first configuration."""
        self._starting: asyncio.TimerHandle | None = None
        """The start that ``vrrp_startup_delay`` puts off."""
        self._refused: set[str] = set()
        """What scheduling the kernel did not grant, told once."""
        self._rounds = 0
        """Turns of the upkeep, for the watchdog."""

    async def run(self) -> None:
        """Obey the supervisor until it says stop or is gone."""
        # Its peer may have what a dead router has left here; a configuration may take its time.
        self._guard.drop_leftovers()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            background = [
                tasks.create_task(work)
                for work in (self._beat(), self._upkeep(), self._accept.look_after())
            ]
            try:
                stopped = await self._obey()
            finally:
                for task in background:
                    task.cancel()
            await self._leave()
            if stopped:
                await self._send(Stopped())
        self._channel.close()

    async def _obey(self) -> bool:
        """Do what the supervisor says; return whether it said stop."""
        decoder: msgspec.json.Decoder[ToRouter] = msgspec.json.Decoder(ToRouter)
        applying = None
        try:
            while (message := await self._channel.receive(decoder)) is not None:
                if isinstance(message, Apply):
                    # It may wait for others, such as nft: a stop and the beats are not to.
                    applying = self._tasks.create_task(self._take_on(message, applying))
                elif self._is_stop(message):
                    return True
            return False
        finally:
            if applying is not None and not applying.done():
                applying.cancel()
                await asyncio.wait({applying})

    async def _take_on(self, message: Apply, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        await self._send(await self._answer(message))

    def _is_stop(self, message: DirectorBeat | Report | Stop | Ask) -> bool:
        """Do what can be done at once; return whether it is a stop."""
        match message:
            case DirectorBeat():
                self._hear_director()
            case Report():
                self._shell.report()
            case Ask(number=number, question=TakeFlight()):
                self._tasks.create_task(self._tell_flight(number))
            case Ask(number=number):
                view = view_router(self._shell, self._loop.time())
                self._send_soon(Reply(number, msgspec.Raw(msgspec.json.encode(view))))
            case Stop():
                return True
            case _:
                assert_never(message)
        return False

    async def _tell_flight(self, number: int) -> None:
        """Tell what the tape has, a piece at a time: packets come first."""
        tape = self._shell.core.tape
        pieces = []
        for segment in tape.segments() if tape else ():
            pieces.append(msgspec.Raw(msgspec.json.encode(segment)))
            await asyncio.sleep(0)
        body = msgspec.Raw(msgspec.json.encode({"segments": pieces}))
        await self._send(Reply(number, body))

    async def _answer(self, message: Apply) -> Applied | Failed:
        # Nothing of what comes is garbage, and a collection would cost an advert its time.
        gc.disable()
        spec = msgspec.json.decode(message.spec, type=RouterSpec)
        try:
            await self._apply(spec)
        except OperatorError as error:
            return Failed(message.generation, error.message, error.hint, error.status, intact=False)
        finally:
            gc.freeze()
            gc.enable()
        return Applied(message.generation, instances=len(spec.instances))

    async def _apply(self, spec: RouterSpec) -> None:
        self._schedule(spec)
        # Whatever waits comes first: from here on the instances go from old to new in one turn.
        await self._trackers.replace(spec.scripts, spec.files, spec.processes)
        await self._accept.configure(spec, sweep=self._spec is None and self._guard.left_behind)
        self._strays.configure(spec.hold)
        before, self._spec = self._spec, spec
        if self._silent and not spec.director_timeout:
            self._silent = False  # and it may be gone, with all that it served
            self._shell.event_for_all(ev.Healed(_DIRECTOR))
        self._shell.unknown_vrids = spec.unknown_vrids
        if before is None or self._starting is not None:
            self._begin(spec)
        else:
            self._reload(spec)

    def _begin(self, spec: RouterSpec) -> None:
        self._guard.prepare(spec)
        configs, faults = self._look(spec)
        statuses = dict(self._trackers.statuses()) | dict(self._guard.statuses())
        self._heralds.configure(spec)
        groups = [group.spec for group in spec.groups]
        self._shell.begin(configs, groups, statuses, faults)
        self._refuse_without_privilege()
        self._guard.survey(self._shell.turn())
        now = self._beaten = self._loop.time()
        self._first = min(self._first, now)
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        if self._first + spec.startup_delay > now:
            self._starting = self._loop.call_at(self._first + spec.startup_delay, self._start)
        else:
            self._start()

    def _refuse_without_privilege(self) -> None:
        """Raise where sockets are forbidden: that does not mend itself."""
        for error in self._shell.wires.failures.values():
            if error.status is ExitStatus.PERMISSION:
                raise error

    def _start(self) -> None:
        self._starting = None
        self._shell.start()

    def _look(
        self, spec: RouterSpec
    ) -> tuple[list[InstanceConfig], Mapping[InstanceKey, frozenset[Fault]]]:
        """Return the instances with the sources that they have now, and the faults of new ones."""
        configs = [self._guard.resolve(config) for config in spec.instances]
        faults = dict(self._guard.faults(configs))
        if self._silent:
            faults = {key: found | {_DIRECTOR} for key, found in faults.items()}
        return configs, faults

    def _reload(self, spec: RouterSpec) -> None:
        before = {key: seat.config for key, seat in self._shell.seats.items()}
        wanted = {config.spec.key: config.spec.version for config in spec.instances}
        leaving = {key for key, config in before.items() if wanted.get(key) != config.spec.version}
        if leaving:
            self._retiring = True
            self._shell.retire(leaving)
            self._retiring = False
        self._guard.prepare(spec)
        configs, faults = self._look(spec)
        self._heralds.configure(spec)
        for track, status in (*self._trackers.statuses().items(), *self._guard.statuses()):
            self._shell.on_status(track, status)
        self._shell.reload(configs, [group.spec for group in spec.groups], faults)
        self._guard.vips.follow({key: old for key, old in before.items() if key not in leaving})
        now = self._shell.turn()
        self._guard.survey(now)
        self._shell.end_turn(now)
        # Another instance may be the one to follow, and have its state for long.
        for key, seat in self._shell.seats.items():
            self._heralds.tell_sync(seat.name, self._shell.state(key))

    def _schedule(self, spec: RouterSpec) -> None:
        wanted = spec.scheduling
        refused = set_scheduling(
            rr_priority=wanted.rr_priority,
            nice=wanted.nice,
            lock_memory=wanted.lock_memory,
            cpus=wanted.cpus,
            rttime=wanted.rttime,
        )
        for one in refused:
            if one.what not in self._refused:
                self._shell.tell(told.SchedulingFailed(one.what, one.reason))
        self._refused = {one.what for one in refused}

    # -- duties of the shell

    def hold(self, seat: Seat) -> None:
        """Put the addresses, routes and rules of *seat* in place."""
        if not self._guard.vips.holds(seat):
            self._strays.begin(self._loop.time())
        self._guard.vips.hold(seat)

    def release(self, seat: Seat) -> None:
        """Take them away."""
        self._guard.vips.release(seat)

    def on_state(self, seat: Seat, change: fx.StateChanged) -> None:
        """Tell others of a transition."""
        self._heralds.on_state(seat, change, deleted=self._retiring)

    def on_group(self, change: fx.GroupChanged) -> None:
        """Tell others of the transition of a sync group."""
        self._heralds.on_group(change)

    def on_effect(self, seat: Seat, effect: fx.Effect) -> None:
        """Tell others of what has a notify of its own."""
        self._heralds.on_effect(seat, self._shell.state(seat.key), effect)

    def on_tick(self, now: float) -> None:
        """See whether the director is alive."""
        spec = self._spec
        if spec is None or not spec.director_timeout or self._silent:
            return
        silent = now - self._beaten
        if silent <= spec.director_timeout:
            self._suspected = inf
            return
        # Its beats may be waiting in the channel, where it is we who stood still.
        self._suspected = min(self._suspected, now)
        if now - self._suspected >= SECOND_LOOK:
            self._silent = True
            self._shell.tell(told.DirectorSilent(format_duration(silent)))
            self._loop.call_soon(self._miss_director)

    def _miss_director(self) -> None:
        if self._silent:  # else it was heard in the same turn
            self._shell.event_for_all(ev.Faulted(_DIRECTOR))

    def _hear_director(self) -> None:
        now = self._loop.time()
        silent, self._beaten = now - self._beaten, now
        if self._silent:
            self._silent = False
            self._shell.tell(told.DirectorBack(format_duration(silent)))
            self._shell.event_for_all(ev.Healed(_DIRECTOR))

    # -- the rest of the life

    async def _leave(self) -> None:
        """Leave in order: priority 0, addresses away, scripts."""
        if self._starting is not None:
            self._starting.cancel()
        self._shell.stop()
        left = self._spec is None and self._guard.left_behind
        if left:
            self._guard.sweep()
        self._guard.close()
        await self._trackers.close()
        await self._accept.close(TABLE_PATIENCE, sweep=left)
        await self._heralds.close(SCRIPT_PATIENCE)
        self._shell.close()

    async def _beat(self) -> None:
        while True:
            states = [one.state for one in self._shell.core.instances.values()]
            await self._send(Beat(self._rounds, states.count(State.MASTER), len(states)))
            await asyncio.sleep(BEAT_INTERVAL)

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_INTERVAL)
            if self._spec is not None:
                self._guard.upkeep()
                self._shell.announce_aside(self._loop.time())
            self._rounds += 1

    def _send_soon(self, message: msgspec.Struct) -> None:
        self._tasks.create_task(self._send(message))

    async def _send(self, message: msgspec.Struct) -> None:
        # A supervisor that is gone ends the channel, and that ends the router.
        with contextlib.suppress(ConnectionError):
            await self._channel.send(message)


def router_main(sock: socket.socket, run_dir: Path, emit: Emit) -> int:
    """Run the router role on *sock* until its supervisor stops it or is gone."""
    _allow_files()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(end_on_bug)
        channel = await Channel.connect(sock)
        await RouterRole(channel, run_dir, Forwarder(channel, emit).tell).run()

    asyncio.run(main())
    return ExitStatus.OK


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
