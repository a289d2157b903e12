"""The events of what follows from health beside the table: addresses on devices, resting checks.

See :mod:`lvskeeper.observe.events`.
"""

from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
class VipBound(Event, frozen=True):
    """A virtual address was put on its device with the quorum, or removed without it."""

    NAME: ClassVar = "vip_bound"
    LEVEL: ClassVar = Level.NOTICE
    address: Annotated[str, "the address"]
    device: Annotated[str, "the device of `vip_bind_dev`"]
    change: Annotated[str, "added, removed; or restored, after somebody else removed it"]


@final
class VipBindFailed(Event, frozen=True):
    """A virtual address could not be put on its device, or removed; it is tried again."""

    NAME: ClassVar = "vip_bind_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "The reason names the cause, the hint the cure."
    change: Annotated[str, "what was asked of the kernel"]
    reason: Annotated[str, "why it was refused"]
    hint: Annotated[str, "what to do"]


@final
class ChecksRest(Event, frozen=True):
    """The checks of a virtual server rest or go on, as its address left or came (`ha_suspend`)."""

    NAME: ClassVar = "checks_rest"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    resting: Annotated[bool, "whether they rest from now on"]
