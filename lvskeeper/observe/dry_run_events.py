"""The events of a dry run; see :mod:`lvskeeper.observe.events`."""

from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
class DryRunBegan(Event, frozen=True):
    """A dry run begins: checks run, and nothing is written."""

    NAME: ClassVar = "dry_run_began"
    LEVEL: ClassVar = Level.NOTICE
    beside: Annotated[str, "runtime directory of the daemon whose possessions count as ours"]
    left_out: Annotated[str, "what is not played; `lvskeeper plan` tells what VRRP would change"]


@final
class WouldDo(Event, frozen=True):
    """A daemon in place of this dry run would do this now.

    What follows from a check of ours is told at once; what differs as somebody else writes, when it
    has lasted for 10 s. Each is told once until it is gone.
    """

    NAME: ClassVar = "would_do"
    LEVEL: ClassVar = Level.NOTICE
    change: Annotated[str, "what it would do"]
    impact: Annotated[str, "whom that would touch, as `lvskeeper plan` has it"]
    area: Annotated[str, "services, addresses, rules or scripts"]


@final
class WouldDoNothing(Event, frozen=True):
    """The kernel is as a daemon in place of this dry run would have it."""

    NAME: ClassVar = "would_do_nothing"
    LEVEL: ClassVar = Level.NOTICE
    virtual_servers: Annotated[int, "virtual servers of the configuration"]
    up: Annotated[int, "real servers that are up by our checks"]
    real_servers: Annotated[int, "of so many"]
