"""What can be done to an IPVS table, one operation a kernel command."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, final

from lvskeeper.ipvs.types import Destination, Forward, Service, ServiceFlag, ServiceKey
from lvskeeper.units import Address, format_address


@final
class Impact(Enum):
    """Whom an operation touches."""

    NONE = "none"
    NEW_FLOWS = "new flows only"
    BREAKS_FLOWS = "breaks flows"


@final
@dataclass(frozen=True, slots=True)
class AddService:
    """Add a service without destinations."""

    wanted: Service

    @property
    def service(self) -> ServiceKey:
        """Key of the service."""
        return self.wanted.key

    @property
    def impact(self) -> Impact:
        """It had no flows before."""
        return Impact.NEW_FLOWS

    def __str__(self) -> str:
        return f"add service {self.service} ({', '.join(_service_words(self.wanted))})"


@final
@dataclass(frozen=True, slots=True)
class SetService:
    """Change a service; its key stays."""

    wanted: Service
    previous: Service

    @property
    def service(self) -> ServiceKey:
        """Key of the service."""
        return self.wanted.key

    @property
    def impact(self) -> Impact:
        """Connections keep their destination; the next ones are scheduled by the new rules."""
        return Impact.NEW_FLOWS

    @property
    def reschedules(self) -> bool:
        """Whether the scheduler changes, which costs the kernel about 12 ms."""
        return self.wanted.scheduler != self.previous.scheduler

    def __str__(self) -> str:
        return f"set service {self.service}: {', '.join(_service_changes(self))}"


@final
@dataclass(frozen=True, slots=True)
class DelService:
    """Delete a service with all that hangs on it."""

    service: ServiceKey

    @property
    def impact(self) -> Impact:
        """Its connections are no longer forwarded."""
        return Impact.BREAKS_FLOWS

    def __str__(self) -> str:
        return f"delete service {self.service}"


@final
@dataclass(frozen=True, slots=True)
class AddDest:
    """Add a destination to a service."""

    service: ServiceKey
    destination: Destination

    @property
    def impact(self) -> Impact:
        """It gets its share of what comes next."""
        return Impact.NEW_FLOWS

    def __str__(self) -> str:
        words = ", ".join(_destination_words(self.destination))
        return f"add destination {self.destination.key} to {self.service} ({words})"


@final
@dataclass(frozen=True, slots=True)
class SetDest:
    """Change a destination; its key stays."""

    service: ServiceKey
    destination: Destination
    previous: Destination

    @property
    def impact(self) -> Impact:
        """A connection keeps its forwarding method, but reads the tunnel from the destination."""
        wanted, previous = self.destination, self.previous
        if previous.forward is Forward.TUN and _tunnel(wanted) != _tunnel(previous):
            return Impact.BREAKS_FLOWS
        return Impact.NEW_FLOWS

    def __str__(self) -> str:
        changes = ", ".join(_destination_changes(self))
        return f"set {changes} of {self.destination.key} in {self.service}"


@final
@dataclass(frozen=True, slots=True)
class DelDest:
    """Delete a destination."""

    service: ServiceKey
    destination: Destination

    @property
    def impact(self) -> Impact:
        """The packets of its connections are dropped."""
        return Impact.BREAKS_FLOWS

    def __str__(self) -> str:
        return f"delete destination {self.destination.key} of {self.service}"


@final
@dataclass(frozen=True, slots=True)
class AddLocal:
    """Add a local address (LIP) to a service; fork dialects only."""

    service: ServiceKey
    address: Address

    @property
    def impact(self) -> Impact:
        """New connections take ports of it."""
        return Impact.NEW_FLOWS

    def __str__(self) -> str:
        return f"add local address {format_address(self.address)} to {self.service}"


@final
@dataclass(frozen=True, slots=True)
class DelLocal:
    """Delete a local address (LIP) of a service; fork dialects only."""

    service: ServiceKey
    address: Address

    @property
    def impact(self) -> Impact:
        """Connections keep theirs until they end."""
        return Impact.NEW_FLOWS

    def __str__(self) -> str:
        return f"delete local address {format_address(self.address)} of {self.service}"


Operation: TypeAlias = (
    AddService | SetService | DelService | AddDest | SetDest | DelDest | AddLocal | DelLocal
)


def _flag_names(flags: ServiceFlag) -> str:
    names = [(flag.name or "").lower().replace("_", "-") for flag in flags]
    return "+".join(names) or "none"


def _service_words(service: Service) -> list[str]:
    words = [service.scheduler]
    if service.persistence:
        words.append(f"persistence {service.persistence} s")
        if service.prefix != service.key.family.host_prefix:
            words.append(f"granularity /{service.prefix}")
    if service.engine:
        words.append(f"engine {service.engine}")
    if other := service.flags & ~ServiceFlag.PERSISTENT:
        words.append(f"flags {_flag_names(other)}")
    if service.established is not None:
        words.append(f"established timeout {service.established} s")
    return words


def _service_changes(change: SetService) -> list[str]:
    wanted, previous = change.wanted, change.previous
    fields: list[tuple[str, object, object]] = [
        ("scheduler", previous.scheduler, wanted.scheduler),
        ("flags", _flag_names(previous.flags), _flag_names(wanted.flags)),
        ("persistence", previous.persistence, wanted.persistence),
        ("granularity", f"/{previous.prefix}", f"/{wanted.prefix}"),
        ("engine", previous.engine or "none", wanted.engine or "none"),
        ("established timeout", previous.established, wanted.established),
    ]
    return [f"{name} {old} -> {new}" for name, old, new in fields if old != new]


def _tunnel(destination: Destination) -> tuple[object, ...]:
    return (
        destination.forward,
        destination.tunnel_type,
        destination.tunnel_port,
        destination.tunnel_flags,
    )


def _tunnel_name(destination: Destination) -> str:
    name = destination.tunnel_type.name.lower()
    port = f":{destination.tunnel_port}" if destination.tunnel_port else ""
    flags = f"+{destination.tunnel_flags:#x}" if destination.tunnel_flags else ""
    return f"{name}{port}{flags}"


def _destination_words(destination: Destination) -> list[str]:
    words = [destination.forward.name.lower(), f"weight {destination.weight}"]
    if destination.forward is Forward.TUN and _tunnel_name(destination) != "ipip":
        words.insert(1, _tunnel_name(destination))
    if destination.upper or destination.lower:
        words.append(f"thresholds {destination.lower}..{destination.upper}")
    return words


def _destination_changes(change: SetDest) -> list[str]:
    wanted, previous = change.destination, change.previous
    fields: list[tuple[str, object, object]] = [
        ("weight", previous.weight, wanted.weight),
        ("method", previous.forward.name.lower(), wanted.forward.name.lower()),
        ("tunnel", _tunnel_name(previous), _tunnel_name(wanted)),
        ("upper threshold", previous.upper, wanted.upper),
        ("lower threshold", previous.lower, wanted.lower),
    ]
    return [f"{name} {old} -> {new}" for name, old, new in fields if old != new]
