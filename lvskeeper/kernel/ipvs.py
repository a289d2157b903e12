"""The IPVS table of this kernel: read, and changed by operations."""

import errno
import subprocess
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.control import (
    Info,
    LocalAddressStats,
    ServiceStats,
    SyncDaemon,
    SyncState,
    Timeouts,
)
from lvskeeper.ipvs.decode import (
    EST_TIMEOUT,
    ServiceReader,
    has_attribute,
    read_local_address,
)
from lvskeeper.ipvs.decode_control import (
    read_daemon,
    read_destination_stats,
    read_info,
    read_service_counters,
    read_timeouts,
)
from lvskeeper.ipvs.decode_dump import DestinationReader
from lvskeeper.ipvs.decode_load import LoadReader
from lvskeeper.ipvs.dialect import (
    MAINLINE,
    TRAITS,
    Dialect,
    FamilyReply,
    Traits,
    family_request,
    parse_family,
    probe,
)
from lvskeeper.ipvs.encode import DialectError, Encoder
from lvskeeper.ipvs.operation import Operation
from lvskeeper.ipvs.types import Destination, DestKey, Entry, Service, ServiceKey
from lvskeeper.kernel.ipvs_errors import explain
from lvskeeper.kernel.netlink import (
    Channel,
    NetlinkError,
    NetlinkLostError,
    Part,
    SocketFactory,
    open_socket,
)
from lvskeeper.units import Address

BATCH: Final = 1_000
"""Requests in one send; the kernel handles them all before the send returns."""
MODPROBE_DEADLINE: Final = 30.0
SYSCTLS: Final = Path("/proc/sys/net/ipv4/vs")


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """An operation that the kernel refused; *message* names the service and what helps."""

    operation: Operation
    errno: int
    message: str


def load_module() -> None:
    """Load ip_vs; whether that worked is seen at the next look-up of the family."""
    try:
        subprocess.run(
            ["modprobe", "-q", "ip_vs"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=MODPROBE_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return


def sysctl_names() -> frozenset[str]:
    """Return the names below ``/proc/sys/net/ipv4/vs``, none where it does not exist."""
    try:
        return frozenset(path.name for path in SYSCTLS.iterdir())
    except OSError:
        return frozenset()


@final
class IpvsClient:
    """One kernel's IPVS, in the network namespace of the thread that calls :meth:`open`.

    Every method raises :class:`~lvskeeper.errors.OperatorError` where the kernel does not answer or
    refuses the whole request.
    """

    def __init__(
        self,
        factory: SocketFactory = open_socket,
        *,
        load: Callable[[], None] = load_module,
        sysctls: Callable[[], AbstractSet[str]] = sysctl_names,
    ) -> None:
        self._channel: Final = Channel(factory)
        self._load: Final = load
        self._sysctls: Final = sysctls
        self._encoder: Encoder | None = None
        self._services = ServiceReader(MAINLINE)
        self._destinations = DestinationReader(MAINLINE)
        self._loads: Final = LoadReader()

    @property
    def traits(self) -> Traits:
        """What this kernel's IPVS can do; known after :meth:`open`."""
        return self._ready().traits

    @property
    def dialect(self) -> Dialect:
        """The dialect of this kernel; known after :meth:`open`."""
        return self.traits.dialect

    def open(self) -> None:
        """Find the family, loading ip_vs where it is missing, and probe the dialect.

        Writes nothing. Raises ``UNSUPPORTED`` where the kernel has no IPVS.
        """
        family = self._family()
        if family is None:
            self._load()
            family = self._family()
        if family is None:
            raise OperatorError(
                "this kernel has no IPVS",
                status=ExitStatus.UNSUPPORTED,
                hint="load the module ip_vs (modprobe ip_vs), or run a kernel that has it",
            )
        traits = self._probe(family)
        self._encoder = Encoder(family.number, traits)
        self._services = ServiceReader(traits)
        self._destinations = DestinationReader(traits)

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def services(self) -> dict[ServiceKey, Service]:
        """Return all services; one dump. Those of a protocol that we do not know are left out."""
        return {service.key: service for service in self.each_service()}

    def each_service(self) -> Iterator[Service]:
        """Return the services of :meth:`services`; the dump is over, and each is read when asked.

        So the client may be used for something else before the last one is asked for.
        """
        sequence = self._channel.sequence()
        try:
            parts = self._channel.dump(self._ready().dump_services(sequence), sequence)
        except NetlinkError as error:
            if error.number != errno.ENOENT:
                raise _refused("services", error) from error
            # The module was loaded anew: its family has another number now.
            self.open()
            parts = self._dump("services", Encoder.dump_services)
        except NetlinkLostError as error:
            raise _lost("services", error) from error
        read = self._services.read
        return (service for part in parts if (service := read(*part)) is not None)

    def destinations(self, key: ServiceKey) -> dict[DestKey, Destination]:
        """Return the destinations of a service, none where it does not exist; one dump."""
        sequence = self._channel.sequence()
        request = self._ready().dump_destinations(key, sequence)
        try:
            datagrams = self._channel.dump_datagrams(request, sequence)
        except NetlinkError as error:
            raise _refused(f"destinations of {key}", error) from error
        except NetlinkLostError as error:
            raise _lost(f"destinations of {key}", error) from error
        return self._destinations.read(datagrams, sequence, key.family)

    def local_address_stats(self, key: ServiceKey) -> list[LocalAddressStats]:
        """Return local addresses with their use; empty where the dialect has none."""
        if not self.traits.native_fullnat:
            return []
        sequence = self._channel.sequence()
        request = self._ready().dump_local_addresses(key, sequence)
        parts = self._dump_parts("local addresses of", request, sequence, key)
        return [read_local_address(*part, key.family) for part in parts]

    def local_addresses(self, key: ServiceKey) -> frozenset[Address]:
        """Return the local addresses of a service; empty where the dialect has none."""
        return frozenset(each.address for each in self.local_address_stats(key))

    def entry(self, service: Service) -> Entry:
        """Return *service* with what hangs on it in the kernel."""
        key = service.key
        return Entry(service, self.destinations(key), self.local_addresses(key))

    def table(self, keys: AbstractSet[ServiceKey] | None = None) -> dict[ServiceKey, Entry]:
        """Return the table, or the services in *keys* of it: a dump, and one a service."""
        return {
            key: self.entry(service)
            for key, service in self.services().items()
            if keys is None or key in keys
        }

    def apply(self, operations: Sequence[Operation], *, batch: int = BATCH) -> list[Failure]:
        """Do *operations* in order, *batch* of them in a send; return those that were refused.

        A refused operation does not stop the ones after it. What the dialect would swallow in
        silence is not sent, and counts as refused.
        """
        failures: list[Failure] = []
        rest = iter(operations)
        while chunk := list(islice(rest, batch)):
            failures += self._apply(chunk)
        return failures

    def info(self) -> Info:
        """Return version and size of the connection table."""
        return read_info(*self._call("version", Encoder.info))

    def timeouts(self) -> Timeouts:
        """Return the connection timeouts."""
        return read_timeouts(*self._call("timeouts", Encoder.timeouts))

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set the connection timeouts; 0 keeps one."""
        self._command("set timeouts", lambda to, number: to.set_timeouts(timeouts, number))

    def zero(self, key: ServiceKey | None = None) -> None:
        """Zero the counters of one service or of all; raise ``UNSUPPORTED`` on fork v3."""
        if not self.traits.zero:
            raise OperatorError(
                "this kernel cannot zero its counters", status=ExitStatus.UNSUPPORTED
            )
        what = f"zero the counters of {key}" if key else "zero all counters"
        self._command(what, lambda to, number: to.zero(number, key))

    def flush(self) -> None:
        """Delete every service, whoever made it. For laboratories; the daemon never does it."""
        self._command("flush the table", Encoder.flush)

    def stats(self, key: ServiceKey) -> ServiceStats:
        """Return the counters of a service and of its destinations."""
        part = self._call(f"counters of {key}", lambda to, number: to.get_service(key, number))
        sequence = self._channel.sequence()
        request = self._ready().dump_destinations(key, sequence)
        found = self._dump_parts("destinations of", request, sequence, key)
        destinations = tuple(read_destination_stats(*each, key.family) for each in found)
        return ServiceStats(key, read_service_counters(*part), destinations)

    def loads(self, key: ServiceKey) -> Iterator[tuple[DestKey, int]]:
        """Return the connections of each destination, active and inactive; one dump.

        The dump is done; only reading it goes on, at 2 us a destination.
        """
        sequence = self._channel.sequence()
        request = self._ready().dump_destinations(key, sequence)
        found = self._dump_parts("destinations of", request, sequence, key)
        return (self._loads.read(*part, key.family) for part in found)

    def start_daemon(self, daemon: SyncDaemon) -> None:
        """Start a connection-synchronisation daemon."""
        what = f"start the {daemon.state.name.lower()} sync daemon on {daemon.interface}"
        self._command(what, lambda to, number: to.start_daemon(daemon, number))

    def stop_daemon(self, state: SyncState) -> None:
        """Stop the sync daemon of one direction.

        A thread that is stopped before it ever ran ends with EINTR, on which netlink stays silent
        (``netlink_rcv_skb``). So a request that changes nothing follows, to be acknowledged.
        """
        what = f"stop the {state.name.lower()} sync daemon"
        encoder = self._ready()
        number, last = self._channel.sequence(), self._channel.sequence()
        stop, keep = encoder.stop_daemon(state, number), encoder.set_timeouts(Timeouts(), last)
        try:
            failed = self._channel.batch(stop + keep, last)
        except NetlinkLostError as error:
            raise _lost(what, error) from error
        if number in failed:
            raise _refused(what, NetlinkError(failed[number]))

    def daemons(self) -> list[SyncDaemon]:
        """Return the running sync daemons."""
        return [read_daemon(*part) for part in self._dump("sync daemons", Encoder.dump_daemons)]

    def _ready(self) -> Encoder:
        if self._encoder is None:
            raise RuntimeError("open() comes first")
        return self._encoder

    def _family(self) -> FamilyReply | None:
        sequence = self._channel.sequence()
        try:
            parts = self._channel.call(family_request(sequence), sequence)
        except NetlinkError as error:
            if error.number == errno.ENOENT:
                return None
            raise _refused("look up IPVS", error) from error
        except NetlinkLostError as error:
            raise _lost("look up IPVS", error) from error
        return parse_family(*parts[0]) if parts else None

    def _probe(self, family: FamilyReply) -> Traits:
        """Tell the dialect from commands and sysctls, and from a dump where those leave it open."""
        dialect = probe(family.operations, sysctls=self._sysctls())
        if dialect is Dialect.MAINLINE:
            return TRAITS[dialect]
        self._encoder = Encoder(family.number, TRAITS[dialect])
        if dialect is Dialect.FORK_V2:
            parts = self._dump("services", Encoder.dump_services)
            seen = any(has_attribute(*part, EST_TIMEOUT) for part in parts)
            dialect = probe(family.operations, established_seen=seen)
        traits = TRAITS[dialect]
        if not traits.established_timeout:
            return traits
        return replace(traits, established_default=self.timeouts().tcp)

    def _apply(self, operations: Sequence[Operation]) -> list[Failure]:
        encoder = self._ready()
        failures: list[Failure] = []
        sent: dict[int, Operation] = {}
        requests: list[bytes] = []
        for operation in operations:
            sequence = self._channel.sequence()
            try:
                requests.append(encoder.operation(operation, sequence, acknowledge=False))
            except DialectError as error:
                message = f"not with this kernel's IPVS: {error}"
                failures.append(Failure(operation, errno.EOPNOTSUPP, message))
            else:
                sent[sequence] = operation
        if not sent:
            return failures
        last = next(reversed(sent))
        requests[-1] = encoder.operation(sent[last], last, acknowledge=True)
        try:
            failed = self._channel.batch(b"".join(requests), last)
        except NetlinkLostError as error:
            raise _lost(f"{len(sent)} changes of the table", error) from error
        failures += [
            Failure(sent[sequence], number, explain(sent[sequence], number))
            for sequence, number in failed.items()
            if sequence in sent
        ]
        return failures

    def _call(self, what: str, build: Callable[[Encoder, int], bytes]) -> Part:
        sequence = self._channel.sequence()
        try:
            parts = self._channel.call(build(self._ready(), sequence), sequence)
        except NetlinkError as error:
            raise _refused(what, error) from error
        except NetlinkLostError as error:
            raise _lost(what, error) from error
        if not parts:
            raise OperatorError(f"{what}: an empty answer", status=ExitStatus.KERNEL)
        return parts[0]

    def _command(self, what: str, build: Callable[[Encoder, int], bytes]) -> None:
        sequence = self._channel.sequence()
        try:
            self._channel.call(build(self._ready(), sequence), sequence)
        except NetlinkError as error:
            raise _refused(what, error) from error
        except NetlinkLostError as error:
            raise _lost(what, error) from error

    def _dump(self, what: str, build: Callable[[Encoder, int], bytes]) -> list[Part]:
        sequence = self._channel.sequence()
        return self._dump_parts(what, build(self._ready(), sequence), sequence)

    def _dump_parts(
        self, what: str, request: bytes, sequence: int, key: ServiceKey | None = None
    ) -> list[Part]:
        try:
            return self._channel.dump(request, sequence)
        except NetlinkError as error:
            raise _refused(f"{what} {key}" if key else what, error) from error
        except NetlinkLostError as error:
            raise _lost(f"{what} {key}" if key else what, error) from error


def _refused(what: str, error: NetlinkError) -> OperatorError:
    if error.number in (errno.EPERM, errno.EACCES):
        return OperatorError(
            f"{what}: not permitted",
            status=ExitStatus.PERMISSION,
            hint="IPVS is read and written with CAP_NET_ADMIN: run as root",
        )
    return OperatorError(f"{what}: {error}", status=ExitStatus.KERNEL)


def _lost(what: str, error: NetlinkLostError) -> OperatorError:
    return OperatorError(
        f"{what}: no answer from the kernel ({error})",
        status=ExitStatus.KERNEL,
        hint="the table is read anew before the next attempt",
    )
