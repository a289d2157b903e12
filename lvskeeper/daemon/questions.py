"""What is asked of the supervisor and of a role through the control socket, and how it travels.

A question goes with a number and comes back with it, so that many may be open at once. The answer
is JSON of a type in :mod:`lvskeeper.observe`; who only passes it on does not read it.
"""

from typing import Annotated, Final, Literal, TypeAlias, final

import msgspec

from lvskeeper.observe.snapshot import Problem

NOTHING_TOLD: Final = msgspec.Raw(b"null")

Wait: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
"""Seconds. A query may say ``inf`` or ``nan``, which have no form on a channel."""


@final
class TakeSnapshot(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Tell how you are."""

    roles: bool = True
    """Ask the roles as well, and not the supervisor alone."""


@final
class ReadEvents(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Tell what was told *after* this number, or else the *last* events."""

    after: int | None = None
    last: int = 50
    wait: Wait = 0.0
    """Seconds to wait for one where nothing came after the number."""


@final
class ListOverrides(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Director: tell which overrides are in force, and how far drains are."""


@final
class Override(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Director: give or lift an override; answered when it is in the kernel's table."""

    action: Literal["drain", "undrain", "weight", "disable", "enable"]
    server: str = ""
    """Real server: ``ADDRESS`` for all its ports, or ``ADDRESS:PORT``."""
    virtual_servers: tuple[str, ...] = ()
    """Names, with or without the protocol; none: all that have the server."""
    weight: int = 0
    for_seconds: float | None = None
    """After which it ends by itself."""
    deadline_seconds: float | None = None
    """After which a drain no longer waits for connections."""
    force: bool = False
    """Even if nobody is left who takes new connections."""
    reason: str = ""


@final
class Reload(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Supervisor: read the file anew."""

    confirm_seconds: float | None = None
    """Roll back after these, unless confirmed."""
    wait: bool = True
    """Answer when it is applied and verified, or refused; else at once."""


@final
class TakeFlight(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A role: tell what you kept of the last minutes."""


@final
class Record(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Supervisor: write a recording of the last minutes."""


@final
class Confirm(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Supervisor: keep the configuration that would be rolled back otherwise."""


RoleQuestion: TypeAlias = TakeSnapshot | TakeFlight | ListOverrides | Override
"""What a role answers."""
Question: TypeAlias = RoleQuestion | ReadEvents | Record | Reload | Confirm
"""What the supervisor answers, with the help of its roles."""


@final
class Ask(msgspec.Struct, frozen=True, tag=True):
    """Control to supervisor, and supervisor to a role: answer *question* under *number*."""

    number: int
    question: Question
    by: str = ""
    """The user at the other end of the control socket."""


@final
class Reply(msgspec.Struct, frozen=True, tag=True):
    """The answer to the question *number*: a *body*, or a *problem*, or both."""

    number: int
    body: msgspec.Raw = NOTHING_TOLD
    problem: Problem | None = None


@final
class Serve(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to control: listen, and let in those whom *mode* and *group* name."""

    mode: int = 0o600
    group: str = ""


@final
class Trouble(msgspec.Struct, frozen=True, tag=True):
    """Control to supervisor: the socket is not as it was to be."""

    message: str
    hint: str = ""


ToControl: TypeAlias = Serve | Reply
FromControl: TypeAlias = Ask | Trouble


class AskError(Exception):
    """A question that is not answered as wished; *problem* says why."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(code, message, hint)
