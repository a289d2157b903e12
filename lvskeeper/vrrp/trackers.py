"""The machines behind tracked things: from results, links, files and process counts to a status.

Each takes what the shell sees, and says when it has to be looked at next (``deadline()``). The
status goes to :meth:`lvskeeper.vrrp.router.Router.on_status`.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, final

from lvskeeper.vrrp.states import IllegalTransitionError
from lvskeeper.vrrp.tracking import FAILED, UNKNOWN, WELL, Status

KILL_AFTER: Final = 2.0
"""From SIGTERM to SIGKILL for a script that is over its time (keepalived)."""
STALL: Final = 0.1
"""Seconds that a timer comes late from which on the lateness is ours, and no script's fault."""
FLAP_HOLD: Final = 1.0
"""How long a link that flaps has to stay up first; doubles with each flap."""
FLAP_HOLD_MAX: Final = 60.0
FLAP_MEMORY: Final = 60.0
"""A link that was up for this long has no past."""


@final
@dataclass(frozen=True, slots=True)
class ScriptSpec:
    """A ``vrrp_script``. Times are in seconds."""

    interval: float = 1.0
    timeout: float = 0.0
    """0: the interval."""
    rise: int = 1
    fall: int = 1
    init_fail: bool = False
    """Count as failed, not as unknown, before the first result."""


@final
class ScriptAction(Enum):
    """What a script machine asks for."""

    RUN = "run"
    SKIP = "still running, not started again"
    TERMINATE = "send SIGTERM to its process group"
    KILL = "send SIGKILL to its process group"


@final
class ScriptTracker:
    """The rise and fall of a track script: the first result decides, later ones in a row do."""

    __slots__ = ("_due", "_end", "_granted", "_row", "_running", "_spec", "_status")

    def __init__(self, spec: ScriptSpec, due: float) -> None:
        """Make the machine of *spec* whose first run is to start at *due*."""
        self._spec = spec
        self._status = FAILED if spec.init_fail else UNKNOWN
        self._due = due
        self._end: tuple[float, ScriptAction] | None = None
        """When the running script is over its time, and what happens to it then."""
        self._granted = False
        """The running script has had more time, as we were late."""
        self._running = False
        self._row = 0
        """Results in a row against the present status."""

    @property
    def status(self) -> Status:
        """Well, failed, or unknown."""
        return self._status

    @property
    def running(self) -> bool:
        """Whether a run has not ended yet."""
        return self._running

    def deadline(self) -> float:
        """Return when ``on_timer`` is due."""
        return min(self._due, self._end[0] if self._end else inf)

    def on_timer(self, now: float) -> list[ScriptAction]:
        """Return what is to be done now."""
        actions: list[ScriptAction] = []
        self._grant(now)
        if self._end and self._end[0] <= now:
            actions.append(self._end[1])
            if self._end[1] is ScriptAction.TERMINATE:
                self._count(well=False)
                self._end = (now + KILL_AFTER, ScriptAction.KILL)
            else:
                self._end = None
        if self._due <= now:
            self._due = max(self._due + self._spec.interval, now)
            if self._running:
                actions.append(ScriptAction.SKIP)
            else:
                self._running, self._granted = True, False
                self._end = (now + self._limit, ScriptAction.TERMINATE)
                actions.append(ScriptAction.RUN)
        return actions

    def _grant(self, now: float) -> None:
        """Give the running script the time in which the machine stood still, once."""
        if self._end is None or self._end[1] is not ScriptAction.TERMINATE or self._granted:
            return
        late = now - self._end[0]
        if late > STALL:
            self._granted = True
            self._end = (now + min(late, self._limit), ScriptAction.TERMINATE)

    @property
    def _limit(self) -> float:
        return self._spec.timeout or self._spec.interval

    def on_exit(self, *, well: bool) -> None:
        """Take the end of the running script; one that was over its time has failed already."""
        if not self._running:
            raise IllegalTransitionError("a result, but no script is running")
        self._running = False
        if self._end and self._end[1] is ScriptAction.TERMINATE:
            self._count(well=well)
        self._end = None

    def _count(self, *, well: bool) -> None:
        if self._status.well is well:
            self._row = 0
            return
        self._row += 1
        needed = self._spec.rise if well else self._spec.fall
        if self._status.well is None or self._row >= needed:
            self._status = WELL if well else FAILED
            self._row = 0


@final
class LinkTracker:
    """An interface that may flap: down counts at once, up after a hold that grows with flaps."""

    __slots__ = ("_flaps", "_hold", "_up", "_up_since", "_well")

    def __init__(self, *, up: bool, hold: float = 0.0) -> None:
        """Start with what the kernel says; *hold* is how long any link has to be up first."""
        self._up = self._well = up
        self._hold = hold
        self._flaps = 0
        self._up_since = -inf

    @property
    def status(self) -> Status:
        """Well or failed."""
        return WELL if self._well else FAILED

    @property
    def flaps(self) -> int:
        """Times that the link came up and went down again soon."""
        return self._flaps

    def deadline(self) -> float:
        """Return when the link that is up counts as well; infinite if it does, or is down."""
        return self._up_since + self._wait if self._up and not self._well else inf

    def on_link(self, now: float, *, up: bool) -> None:
        """Take what the kernel says of the link."""
        if up == self._up:
            return
        self._up = up
        if not up:
            lasted = now - self._up_since
            self._flaps = self._flaps + 1 if lasted < FLAP_MEMORY else 0
            self._well = False
            return
        self._up_since = now
        self._well = self._wait == 0

    def on_timer(self, now: float) -> None:
        """Let a link count that was up for long enough."""
        if now >= self.deadline():
            self._well = True

    @property
    def _wait(self) -> float:
        if not self._flaps:
            return self._hold
        # The bound keeps the power small on a link that flaps for days
        doublings = min(self._flaps - 1, 30)
        return max(self._hold, min(FLAP_HOLD * 2.0**doublings, FLAP_HOLD_MAX))


@final
@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A ``vrrp_track_process``. Times are in seconds."""

    quorum: int = 1
    quorum_max: int = 0
    """More than this fail, too; 0 for no bound."""
    up_delay: float = 0.0
    """``fork_delay``."""
    down_delay: float = 0.0
    """``terminate_delay``."""


@final
class ProcessTracker:
    """A count of processes against its quorum; a change counts after its delay."""

    __slots__ = ("_seen", "_since", "_spec", "_well")

    def __init__(self, spec: ProcessSpec, count: int) -> None:
        self._spec = spec
        self._well = self._seen = self._suffices(count)
        self._since = -inf

    @property
    def status(self) -> Status:
        """Well or failed."""
        return WELL if self._well else FAILED

    def deadline(self) -> float:
        """Return when the present count counts; infinite if it does already."""
        if self._seen == self._well:
            return inf
        return self._since + (self._spec.up_delay if self._seen else self._spec.down_delay)

    def on_count(self, count: int, now: float) -> None:
        """Take how many processes match now."""
        seen = self._suffices(count)
        if seen != self._seen:
            self._seen, self._since = seen, now
        self.on_timer(now)

    def on_timer(self, now: float) -> None:
        """Let a count count that lasted for long enough."""
        if now >= self.deadline():
            self._well = self._seen

    def _suffices(self, count: int) -> bool:
        most = self._spec.quorum_max or inf
        return self._spec.quorum <= count <= most


def file_status(content: str) -> Status:
    """Return what a tracked file says: its first word as an integer.

    As in keepalived a file that is missing (give "") or is no number stands for 0.
    """
    words = content.split(maxsplit=1)
    try:
        return Status(well=True, value=int(words[0]) if words else 0)
    except ValueError:
        return Status(well=True, value=0)
