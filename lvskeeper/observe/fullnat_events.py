"""The events of FULLNAT and SYNPROXY: pools, rulesets, floods, capacity, conntrack.

See :mod:`lvskeeper.observe.events`.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
@dataclass(frozen=True, slots=True)
class RulesetRepaired(Event):
    """Somebody else changed or flushed our nftables table; it is as configured again."""

    NAME: ClassVar = "ruleset_repaired"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Let firewall scripts delete their own tables instead of `flush ruleset`."
    difference: Annotated[str, "what differed"]
    took: Annotated[str, "time from finding to mending"]


@final
@dataclass(frozen=True, slots=True)
class FullnatApplied(Event):
    """The nftables ruleset that translates sources to LIPs was replaced atomically."""

    NAME: ClassVar = "fullnat_applied"
    services: Annotated[int, "virtual services with FULLNAT"]
    pools: Annotated[int, "local-address groups in use"]


@final
@dataclass(frozen=True, slots=True)
class GuardMissing(Event):
    """The guard table could not be installed: a foreign `flush ruleset` would stall connections."""

    NAME: ClassVar = "guard_missing"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Install libnftables (package libnftables1)."
    reason: Annotated[str, "why"]


@final
@dataclass(frozen=True, slots=True)
class LocalAddressChanged(Event):
    """A LIP was put on its device, or removed from it."""

    NAME: ClassVar = "local_address_changed"
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    change: Annotated[str, "added or removed"]


@final
@dataclass(frozen=True, slots=True)
class LocalAddressFailed(Event):
    """A LIP could not be put on its device, or removed from it."""

    NAME: ClassVar = "local_address_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Check that the device exists and is spelled as `ip link` shows it."
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    reason: Annotated[str, "why"]
