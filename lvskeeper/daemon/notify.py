"""Tells others of transitions: by scripts and by named pipes, in keepalived's words."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, assert_never, final

from lvskeeper.daemon.children import KILL_DELAY
from lvskeeper.daemon.fifo import FifoWriter
from lvskeeper.daemon.fifo_reader import PAUSE_FIRST, FifoReader
from lvskeeper.daemon.notify_scripts import EventScripts
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.router_spec import Fifo, Notifies, RouterSpec
from lvskeeper.daemon.scripts import SCRIPT_DEADLINE, ScriptOutcome
from lvskeeper.vrrp.states import State

Kind: TypeAlias = Literal["INSTANCE", "GROUP"]

STOPPED: Final = "STOP"
DELETED: Final = "DELETED"
LOWER_HEARD: Final = "MASTER_RX_LOWER_PRI"


@final
@dataclass(slots=True)
class _Pipe:
    spec: Fifo
    writer: FifoWriter
    reader: FifoReader | None = None


@final
class Notifier:
    """Runs the scripts of transitions, and writes them to the pipes. Nothing of it is waited for.

    *on_script* gets the outcome of each script, *on_problem* a sentence about a pipe or its reader.
    """

    def __init__(
        self,
        on_script: Callable[[ScriptOutcome], None],
        on_problem: Callable[[str], None],
        *,
        script_deadline: float = SCRIPT_DEADLINE,
        kill_delay: float = KILL_DELAY,
        reader_pause: float = PAUSE_FIRST,
    ) -> None:
        """Make a notifier without pipes; times are in seconds."""
        self._on_problem = on_problem
        self._scripts = EventScripts(on_script, deadline=script_deadline, kill_delay=kill_delay)
        self._reader_pause = reader_pause
        self._pipes: dict[str, _Pipe] = {}
        self._ending: list[FifoReader] = []
        self._router_id = ""
        self._secure = False
        self._members: dict[str, tuple[str, ...]] = {}
        self._last: dict[str, tuple[str, Script | None]] = {}
        """Word and script of the last event of each instance."""

    def replace(self, spec: RouterSpec) -> None:
        """Go by *spec* from now on; what waits to be run stays, and so do pipes that are the same.

        A pipe that cannot be opened is a problem, and is tried again by the next call.
        """
        self._router_id = spec.router_id
        self._secure = self._scripts.secure = spec.script_security
        names = {item.spec.key: item.spec.name for item in spec.instances}
        self._last = {name: self._last[name] for name in names.values() if name in self._last}
        self._members = {
            group.spec.name: tuple(names[key] for key in group.spec.members if key in names)
            for group in spec.groups
        }
        wanted: dict[str, Fifo] = {}
        for fifo in spec.fifos:
            known = wanted.get(fifo.path)
            # Two keywords may name one pipe: it gets each line once, and one reader.
            if known is None or (known.reader is None and fifo.reader is not None):
                wanted[fifo.path] = fifo
        for path in [path for path in self._pipes if path not in wanted]:
            self._leave(self._pipes.pop(path))
        for fifo in wanted.values():
            self._put(fifo)

    def entered(
        self,
        kind: Kind,
        name: str,
        state: State,
        priority: int,
        notifies: Notifies,
        *,
        cause: str = "",
    ) -> None:
        """Tell that an instance or group is in *state*. ``INIT`` is told to nobody."""
        match state:
            case State.MASTER:
                script = notifies.master
            case State.BACKUP:
                script = notifies.backup
            case State.FAULT:
                script = notifies.fault
            case State.INIT:
                return
            case _:
                assert_never(state)
        self._tell(kind, name, state.value, priority, script=script, notifies=notifies, cause=cause)

    def stopped(
        self, kind: Kind, name: str, priority: int, notifies: Notifies, *, cause: str = ""
    ) -> None:
        """Tell that we stop with it."""
        self._tell(
            kind, name, STOPPED, priority, script=notifies.stop, notifies=notifies, cause=cause
        )

    def deleted(
        self, kind: Kind, name: str, priority: int, notifies: Notifies, *, cause: str = ""
    ) -> None:
        """Tell that a reload removed it: as DELETED if it has a script for that, else as FAULT."""
        word, script = DELETED, notifies.deleted
        if script is None:
            word, script = State.FAULT.value, notifies.fault
        self._tell(kind, name, word, priority, script=script, notifies=notifies, cause=cause)
        if kind == "INSTANCE":
            self._last.pop(name, None)

    def lower_heard(self, name: str, priority: int, notifies: Notifies, *, cause: str = "") -> None:
        """Tell that the instance, a master, heard a lower priority than its own *priority*."""
        self._write("INSTANCE", name, LOWER_HEARD, priority, passing=True)
        if notifies.lower_heard is not None:
            facts = self._facts("INSTANCE", name, LOWER_HEARD, priority, cause)
            self._scripts.submit(f"instance {name}", (notifies.lower_heard,), facts, passing=True)

    def priority_changed(self, name: str, state: State, priority: int, notifies: Notifies) -> None:
        """Write the effective *priority* of an instance to the pipes, where it is asked for."""
        if notifies.priority_changes:
            word = "MASTER_PRIORITY" if state is State.MASTER else "BACKUP_PRIORITY"
            self._write("INSTANCE", name, word, priority, passing=True)

    async def close(self, deadline: float) -> None:
        """Give scripts *deadline* seconds; end the readers, and remove the pipes that we made."""
        for path in list(self._pipes):
            self._leave(self._pipes.pop(path))
        await self._scripts.close(deadline)
        for reader in self._ending:
            await reader.ended()

    def _tell(
        self,
        kind: Kind,
        name: str,
        word: str,
        priority: int,
        *,
        script: Script | None,
        notifies: Notifies,
        cause: str,
    ) -> None:
        if kind == "GROUP":
            priority = 0
        self._write(kind, name, word, priority, passing=False)
        if kind == "INSTANCE":
            self._last[name] = word, script
        elif self._ran(name, word, script):
            script = None
        scripts = [script] if script is not None else []
        if notifies.any is not None:
            argv = (*notifies.any.argv, kind, name, word, str(priority))
            scripts.append(replace(notifies.any, argv=argv))
        facts = self._facts(kind, name, word, priority, cause)
        self._scripts.submit(f"{kind.lower()} {name}", scripts, facts, passing=False)

    def _ran(self, group: str, word: str, script: Script | None) -> bool:
        """Whether *script* was run already for a member of *group* that went the same way."""
        members = self._members.get(group, ())
        return any(self._last.get(member) == (word, script) for member in members)

    def _facts(self, kind: Kind, name: str, word: str, priority: int, cause: str) -> dict[str, str]:
        facts = {
            kind.lower(): name,
            "state": word,
            "priority": str(priority),
            "cause": cause,
            "router_id": self._router_id,
        }
        return {key: value for key, value in facts.items() if value}

    def _write(self, kind: Kind, name: str, word: str, priority: int, *, passing: bool) -> None:
        line = f'{kind} "{name}" {word} {priority}\n'.encode()
        for pipe in self._pipes.values():
            pipe.writer.write((kind, name), line, passing=passing)

    def _put(self, fifo: Fifo) -> None:
        """Have the pipe as *fifo* says, and keep what is there if it says the same."""
        pipe = self._pipes.get(fifo.path)
        if pipe is not None and not pipe.writer.there():
            self._leave(self._pipes.pop(fifo.path))
            pipe = None
        if pipe is None:
            try:
                pipe = _Pipe(fifo, FifoWriter(fifo, self._on_problem))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self._on_problem(f"FIFO {fifo.path} cannot be used: {reason}")
                return
            self._pipes[fifo.path] = pipe
        elif (pipe.spec.user, pipe.spec.group) != (fifo.user, fifo.group):
            pipe.writer.own(fifo)
        pipe.spec = fifo
        self._put_reader(pipe)

    def _put_reader(self, pipe: _Pipe) -> None:
        """Have the reader of *pipe* as it is configured, started after the last one has ended."""
        old, script = pipe.reader, pipe.spec.reader
        if old is not None:
            if old.script == script and old.secure == self._secure and not old.gone:
                return
            self._end(old)
        pipe.reader = None
        if script is not None:
            pipe.reader = FifoReader(
                script,
                pipe.spec.path,
                self._on_problem,
                secure=self._secure,
                pause=self._reader_pause,
                after=old,
            )

    def _leave(self, pipe: _Pipe) -> None:
        """Close *pipe*; its reader may read to the end, then it is ended."""
        pipe.writer.close()
        if pipe.reader is not None:
            self._end(pipe.reader)

    def _end(self, reader: FifoReader) -> None:
        reader.end()
        self._ending = [item for item in self._ending if not item.gone]
        self._ending.append(reader)
