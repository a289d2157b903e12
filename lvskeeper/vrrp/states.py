"""The words of the VRRP machine: states, faults, causes, occasions."""

from dataclasses import dataclass
from enum import Enum
from typing import final


class IllegalTransitionError(RuntimeError):
    """An input that the machine's state does not allow: a bug of the caller. Nothing changed."""


@final
class State(Enum):
    """State of an instance or of a sync group; the value is keepalived's word."""

    INIT = "INIT"
    """Not started, stopped, or waiting for the first result of a script."""
    BACKUP = "BACKUP"
    MASTER = "MASTER"
    FAULT = "FAULT"
    """Something is missing that the instance cannot do without; :class:`Fault` says what."""

    __hash__ = object.__hash__
    """Members are singletons; the hash of an Enum is Python code, and the tables ask for it."""


@final
class FaultKind(Enum):
    """What keeps an instance in FAULT."""

    INTERFACE_DOWN = "interface down"
    INTERFACE_MISSING = "interface missing"
    BASE_INTERFACE_DOWN = "base interface down"
    NO_SOURCE = "no source address"
    DUPLICATE_VRID = "duplicate VRID"
    NO_PEER = "no unicast peer"
    NO_SOCKET = "no socket for adverts"
    CONFIGURATION = "configuration"
    TRACKED_INTERFACE = "tracked interface down"
    SCRIPT = "script failed"
    FILE = "tracked file"
    PROCESS = "too few or too many processes"
    GROUP = "member of sync group in fault"
    DIRECTOR = "director does not answer"
    MAINTENANCE = "maintenance"


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One reason to be in FAULT."""

    kind: FaultKind
    name: str = ""
    """Which interface, script, ...; empty where the instance has only one."""

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.name})" if self.name else self.kind.value


@final
class Cause(Enum):
    """Why a state changed."""

    START = "start"
    STOP = "stop"
    SILENCE = "no advert within the master-down time"
    PRIORITY_ZERO = "the master resigned"
    HIGHER_PRIORITY = "a higher priority was heard"
    HIGHER_ADDRESS = "an equal priority from a higher address was heard"
    FAULT = "fault"
    HEALED = "all faults healed"
    GROUP = "sync group"
    STALLED = "our own process stood still for too long"
    RESUMED = "the machine was suspended"


@final
class Occasion(Enum):
    """Why addresses are announced."""

    MASTER = "became master"
    LOWER_PRIORITY = "another router claimed the addresses"
    STALL = "stood still for more than an advert interval"
    LINK = "link came back"
    RESTORED = "addresses were put back"
