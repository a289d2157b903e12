"""The events of orders at runtime: overrides, drains, reloads that wait to be confirmed.

See :mod:`lvskeeper.observe.events`.
"""

from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
class OverrideGiven(Event, frozen=True):
    """An operator ordered something for a real server, or for a whole virtual server."""

    NAME: ClassVar = "override_given"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server; absent: all of them"]
    order: Annotated[str, "drain, weight or disable"]
    weight: Annotated[int, "the weight from now on"]
    lasts: Annotated[str, "time until it ends by itself, if it does"]
    deadline: Annotated[str, "time that a drain waits for connections, if it is limited"]
    by: Annotated[str, "who ordered it"]
    reason: Annotated[str, "why, in the operator's words"]


@final
class OverrideEnded(Event, frozen=True):
    """What an operator had ordered holds no longer."""

    NAME: ClassVar = "override_ended"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server; absent: all of them"]
    order: Annotated[str, "drain, weight or disable"]
    reason: Annotated[str, "who lifted it, or why it ended by itself"]


@final
class OverrideOrphaned(Event, frozen=True):
    """The configuration does not name the subject of an override any more.

    For an hour the override waits for it to come back.
    """

    NAME: ClassVar = "override_orphaned"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Lift it with `lvskeeper undrain` or `enable` if it is not to come back."
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server; absent: all of them"]
    order: Annotated[str, "drain, weight or disable"]


@final
class DrainEnded(Event, frozen=True):
    """A draining server has left the kernel's table."""

    NAME: ClassVar = "drain_ended"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    reason: Annotated[str, "no connection is left, or what else ended it"]
    connections: Annotated[int, "connections that were left"]
    flows: Annotated[int, "UDP: entries of connection tracking that were deleted"]
    took: Annotated[str, "time since the order"]


@final
class ReloadUnconfirmed(Event, frozen=True):
    """A reload is in force, and is rolled back unless somebody confirms it in time."""

    NAME: ClassVar = "reload_unconfirmed"
    LEVEL: ClassVar = Level.NOTICE
    CURE: ClassVar = "`lvskeeper confirm` keeps it."
    within: Annotated[str, "time to confirm"]


@final
class ReloadConfirmed(Event, frozen=True):
    """The configuration that was to be confirmed stays."""

    NAME: ClassVar = "reload_confirmed"
    LEVEL: ClassVar = Level.NOTICE
    by: Annotated[str, "who confirmed it"]


@final
class ReloadRolledBack(Event, frozen=True):
    """Nobody confirmed a reload in time; what was confirmed last is in force again."""

    NAME: ClassVar = "reload_rolled_back"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "The file still has what was rolled back: mend it before the next start."
    operations: Annotated[int, "changes made to the kernel's table"]
    took: Annotated[str, "time that it took"]
