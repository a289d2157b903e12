"""What the control socket tells: the whole daemon at one moment, and why something is not told.

It is JSON of the values in here and in :mod:`lvskeeper.observe.views`. Names of fields are stable
as long as the number in the path is the same.
"""

from typing import Final, final

import msgspec

from lvskeeper.observe.views import DirectorView, RouterView

API_VERSION: Final = 1
"""Number in the paths of the control socket; it changes where a field changes its meaning."""

SOCKET_NAME: Final = "control.sock"
"""The control socket in the runtime directory."""


@final
class RoleView(msgspec.Struct, frozen=True):
    """A role as the supervisor knows it."""

    name: str
    pid: int | None
    """``None`` while none runs."""
    age: float | None
    """Seconds since its start."""
    beat_age: float | None
    """Seconds since its last sign of life; it gives one a second."""


@final
class DaemonView(msgspec.Struct, frozen=True):
    """The supervisor. Ages count back from *taken*."""

    taken: float
    """Monotonic clock when it was made."""
    time: float
    """Time of day then, in seconds since 1970."""
    version: str
    pid: int
    age: float
    file: str
    generation: int
    """Number of what was applied last; every application to a role counts."""
    applied_age: float | None
    """Since a configuration was last applied."""
    unconfirmed: float | None
    """Seconds until a reload is rolled back unless it is confirmed; ``None`` for none."""
    last_reload: str
    """How the last reload ended, in words; empty before the first."""
    roles: tuple[RoleView, ...]
    dry_run: bool = False
    """It only tells what it would do, and serves nobody."""


@final
class Problem(msgspec.Struct, frozen=True):
    """Why something is not answered, or not done."""

    code: str
    """One of :data:`CODES`."""
    message: str
    hint: str = ""


@final
class RecordingView(msgspec.Struct, frozen=True):
    """A recording that was written."""

    file: str


@final
class ReloadView(msgspec.Struct, frozen=True):
    """What came of a reload."""

    applied: bool
    """It is in the kernel, read back and compared, but for :attr:`refused`; else nothing was
    changed."""
    message: str
    """In words, for a person."""
    operations: int = 0
    """Changes that the kernel's table needed."""
    refused: int = 0
    """Of these, refused by the kernel; they are tried again."""
    virtual_servers: int = 0
    real_servers: int = 0
    instances: int = 0
    changes: dict[str, int] = {}
    """The operations by kind: ``add service``, ``change destination``, ..."""
    took: float = 0.0
    """Seconds."""
    warnings: tuple[str, ...] = ()
    """Of the file, one line each; the first :data:`MAX_LINES`."""
    errors: tuple[str, ...] = ()
    """Why the file is refused."""
    confirm_within: float | None = None
    """Seconds after which it is rolled back unless it is confirmed."""


MAX_LINES: Final = 100

CODES: Final = {
    "bad_request": 400,
    "not_found": 404,
    "refused": 409,
    "internal": 500,
    "unavailable": 503,
    "timed_out": 504,
}
"""The codes of problems, and the HTTP status that goes with each."""


@final
class Failure(msgspec.Struct, frozen=True):
    """The body of an answer that is none."""

    error: Problem


@final
class Snapshot(msgspec.Struct, frozen=True):
    """``/v1/snapshot``: all of it. A role that did not answer is a problem, not an old value.

    With problems the HTTP status is that of the first one, and what did answer is told all the
    same.
    """

    daemon: DaemonView
    director: DirectorView | None
    router: RouterView | None
    """``None`` where the configuration has nothing for a role, or where it is a problem."""
    problems: tuple[Problem, ...] = ()
