"""Exit statuses and the one exception that carries a message for the operator."""

from enum import IntEnum
from typing import Final, final


@final
class ExitStatus(IntEnum):
    """How a command ends; the numbers are documented and stable."""

    OK = 0
    """Done; for ``plan``: nothing would change."""
    ATTENTION = 1
    """``check --strict`` found warnings; ``plan`` found changes; ``demo`` saw a step fail."""
    CONFIG = 2
    """The configuration (or the command line) is refused."""
    PERMISSION = 3
    """A privilege is missing (CAP_NET_ADMIN, usually: not root)."""
    UNSUPPORTED = 4
    """The kernel lacks something that the configuration needs (ip_vs, nftables)."""
    KERNEL = 5
    """The kernel or a helper program refused or did not answer."""
    BUSY = 6
    """Another lvskeeper owns the runtime directory."""
    NO_DAEMON = 7
    """No daemon answers at the control socket."""
    REFUSED = 8
    """The daemon understood, and does not do it; the message says why."""
    NOT_FOUND = 9
    """What was named is not there."""
    TIMED_OUT = 10
    """The daemon, or a role of it, did not answer in time; or a wait ended before its time."""
    INTERNAL = 70
    """A bug; the message asks for a report."""
    INTERRUPTED = 130
    """Ctrl-C ended a command."""


class OperatorError(Exception):
    """A failure that is told to the operator as *message* and *hint*, without a traceback."""

    def __init__(self, message: str, *, status: ExitStatus, hint: str = "") -> None:
        super().__init__(message)
        self.message: Final = message
        self.status: Final = status
        self.hint: Final = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message
