"""What the trackers have to tell beside statuses; the role makes log events of it."""

from dataclasses import dataclass
from typing import TypeAlias, final


@final
@dataclass(frozen=True, slots=True)
class ScriptEnd:
    """How a run of a script ended."""

    status: int | None = None
    """Exit status; ``None`` where a signal or the time limit ended it, or where it never ran."""
    signal: int | None = None
    timed_out: bool = False
    seconds: float = 0.0
    output: str = ""
    """The end of what it wrote; empty for one that is over its time, which is told at once."""
    error: str = ""
    """Why it could not be started."""

    def __str__(self) -> str:
        if self.timed_out:
            return "timed out"
        if self.error:
            return f"could not be started: {self.error}"
        return f"signal {self.signal}" if self.status is None else f"exit status {self.status}"


@final
@dataclass(frozen=True, slots=True)
class ScriptTurned:
    """A script is well or failed now, and was not before."""

    name: str
    well: bool
    end: ScriptEnd
    """The result that made the difference."""


@final
@dataclass(frozen=True, slots=True)
class ScriptEndChanged:
    """A script ended otherwise than the time before, which makes no difference (yet)."""

    name: str
    before: ScriptEnd
    end: ScriptEnd


@final
@dataclass(frozen=True, slots=True)
class ScriptSkipped:
    """A script has not ended when it is due again. Told once for each run."""

    name: str
    seconds: float
    """How long ago it was ordered."""
    started: bool
    """Whether it runs; otherwise the process that runs scripts has not come to it yet."""


@final
@dataclass(frozen=True, slots=True)
class ScriptUnstarted:
    """A script could not be started, which counts as failed. Told once for each reason."""

    name: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class ScriptHostLost:
    """The process that runs the scripts ended or stands still. It is started again."""

    reason: str


@final
@dataclass(frozen=True, slots=True)
class FileChanged:
    """The number in a tracked file is another; 0 where there is none."""

    name: str
    old: int
    new: int


@final
@dataclass(frozen=True, slots=True)
class FileUnwatched:
    """The kernel does not tell of changes of a file; it is looked at once a second."""

    name: str
    path: str
    """Directory that cannot be watched."""
    reason: str


@final
@dataclass(frozen=True, slots=True)
class FileUnwritten:
    """The initial value could not be written."""

    name: str
    path: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class QuorumTurned:
    """Enough processes of a name run now, or no longer do."""

    name: str
    gained: bool
    count: int


@final
@dataclass(frozen=True, slots=True)
class ProcessesPolled:
    """The kernel does not tell of starts and ends of processes; they are counted once a second."""

    reason: str


TrackNews: TypeAlias = (
    ScriptTurned
    | ScriptEndChanged
    | ScriptSkipped
    | ScriptUnstarted
    | ScriptHostLost
    | FileChanged
    | FileUnwatched
    | FileUnwritten
    | QuorumTurned
    | ProcessesPolled
)
