"""The events of FULLNAT and SYNPROXY: pools, rulesets, floods, capacity, conntrack.

See :mod:`lvskeeper.observe.events`.
"""

from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
class RulesetRepaired(Event, frozen=True):
    """Somebody else changed or flushed our nftables table; it is as configured again."""

    NAME: ClassVar = "ruleset_repaired"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Let firewall scripts delete their own tables instead of `flush ruleset`."
    difference: Annotated[str, "what differed"]
    took: Annotated[str, "time from finding to mending"]


@final
class FullnatApplied(Event, frozen=True):
    """The nftables ruleset that translates sources to LIPs was replaced atomically."""

    NAME: ClassVar = "fullnat_applied"
    services: Annotated[int, "virtual services with FULLNAT"]
    pools: Annotated[int, "local-address groups in use"]


@final
class GuardMissing(Event, frozen=True):
    """The guard table could not be installed: a foreign `flush ruleset` would stall connections."""

    NAME: ClassVar = "guard_missing"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Install libnftables (package libnftables1)."
    reason: Annotated[str, "why"]


@final
class SynFloodStarted(Event, frozen=True):
    """SYNs come without handshakes, for seconds; SYN cookies keep them from the real servers."""

    NAME: ClassVar = "syn_flood_started"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "None is needed while the link is not full; `syn_flood_ended` comes after it."
    syns: Annotated[int, "SYNs since its first second"]
    handshakes: Annotated[int, "those of them that clients completed"]
    rate: Annotated[int, "SYNs a second without a handshake, the most so far"]


@final
class SynFloodEnded(Event, frozen=True):
    """A flood of SYNs is over."""

    NAME: ClassVar = "syn_flood_ended"
    LEVEL: ClassVar = Level.NOTICE
    syns: Annotated[int, "SYNs that came in its time"]
    handshakes: Annotated[int, "those of them that clients completed"]
    peak: Annotated[int, "SYNs a second without a handshake, the most of it"]
    duration: Annotated[str, "from its first to its last loud second"]


@final
class SynCounters(Event, frozen=True):
    """What SYN cookies were counted to do, on demand (SIGUSR1)."""

    NAME: ClassVar = "syn_counters"
    LEVEL: ClassVar = Level.NOTICE
    syns: Annotated[int, "SYNs answered with a cookie"]
    handshakes: Annotated[int, "cookies that came back right"]
    forged: Annotated[int, "ACKs with a cookie that was wrong or too old"]
    flood: Annotated[str, "yes while a flood goes on, else no"]
    rates: Annotated[str, "counters that grow, a second, by the kernel's names"]
    others: Annotated[str, "the kernel's other counters that are not 0"]


@final
class SysctlUnknown(Event, frozen=True):
    """A setting of `ipvs_sysctls` does not exist in this kernel and is left out."""

    NAME: ClassVar = "sysctl_unknown"
    LEVEL: ClassVar = Level.NOTICE
    CURE: ClassVar = "Take it out, or run the kernel that it is for."
    sysctl: Annotated[str, "its name"]


@final
class SysctlPolicy(Event, frozen=True):
    """A sysctl that works either way has the value whose price is told here."""

    NAME: ClassVar = "sysctl_policy"
    CURE: ClassVar = "Set it to 1 in `ipvs_sysctls` if you want the other way, to 0 if not."
    sysctl: Annotated[str, "its name"]
    value: Annotated[str, "its value"]
    consequence: Annotated[str, "what follows"]


@final
class LocalAddressGap(Event, frozen=True):
    """A FULLNAT kernel refuses clients of a service: it has no LIP, or none for some CPUs.

    The kernel log then says `no port available`, as it does when all ports are taken. The third
    generation gives each LIP to one CPU, by its last byte, and a client is served by the CPU that
    its packets arrive on.
    """

    NAME: ClassVar = "local_address_gap"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Add LIPs; as many in a row as there are CPUs for data cover them all."
    service: Annotated[str, "the virtual service"]
    missing: Annotated[str, "what has no LIP"]


@final
class LocalAddressChanged(Event, frozen=True):
    """A LIP was put on its device, or removed from it."""

    NAME: ClassVar = "local_address_changed"
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    change: Annotated[str, "added or removed"]


@final
class LocalAddressFailed(Event, frozen=True):
    """A LIP could not be put on its device, or removed from it."""

    NAME: ClassVar = "local_address_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Check that the device exists and is spelled as `ip link` shows it."
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    reason: Annotated[str, "why"]
