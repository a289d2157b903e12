"""Tells others of transitions: by scripts and by named pipes, in keepalived's words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, TypeAlias, assert_never, final

from lvskeeper.daemon.children import KILL_DELAY
from lvskeeper.daemon.fifo_reader import PAUSE_FIRST
from lvskeeper.daemon.notify_scripts import EventScripts
from lvskeeper.daemon.pipes import Pipes
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.router_spec import Notifies, RouterSpec
from lvskeeper.daemon.scripts import SCRIPT_DEADLINE, ScriptOutcome
from lvskeeper.vrrp.states import State

Kind: TypeAlias = Literal["INSTANCE", "GROUP"]

STOPPED: Final = "STOP"
DELETED: Final = "DELETED"
QUIET: Final = Notifies()
LOWER_HEARD: Final = "MASTER_RX_LOWER_PRI"


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
        self._scripts = EventScripts(on_script, deadline=script_deadline, kill_delay=kill_delay)
        self._pipes = Pipes(on_problem, reader_pause=reader_pause)
        self._router_id = ""
        self._members: dict[str, tuple[str, ...]] = {}
        self._last: dict[str, tuple[str, Script | None]] = {}
        """Word and script of the last event of each instance."""

    def replace(self, spec: RouterSpec) -> None:
        """Go by *spec* from now on; scripts that wait stay, and so do pipes that are the same."""
        self._router_id = spec.router_id
        notifies = [one.notifies for one in spec.instances]
        notifies += [one.notifies for one in spec.groups]
        ready = any(each != QUIET for each in notifies)
        self._scripts.configure(secure=spec.script_security, ready=ready)
        names = {item.spec.key: item.spec.name for item in spec.instances}
        self._last = {name: self._last[name] for name in names.values() if name in self._last}
        self._members = {
            group.spec.name: tuple(names[key] for key in group.spec.members if key in names)
            for group in spec.groups
        }
        self._pipes.replace(spec.fifos, secure=spec.script_security)

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
        self._pipes.leave()
        await self._scripts.close(deadline)
        await self._pipes.ended()

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
        self._pipes.write((kind, name), line, passing=passing)
