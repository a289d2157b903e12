"""Keeps the kernel's IPVS table as desired: reconcile, verify, repair drift.

What differs is always found against a fresh dump of the kernel, never against an old wish.
"""

import asyncio
import errno
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, final

from lvskeeper.daemon.breath import Breath
from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.operation import (
    AddDest,
    AddLocal,
    AddService,
    DelDest,
    DelLocal,
    DelService,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import Entry, Service, ServiceKey, Table
from lvskeeper.kernel.ipvs import Failure, IpvsClient
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

SLICE: Final = 256
"""Operations in one send; the loop breathes between two slices (5 to 10 ms)."""

DRIFT_BUDGET: Final = 0.1
"""Seconds of one drift check. A table too big for it is read in turns; services, each time."""

SHOWN: Final = 3
"""Repairs told in words in one event."""


_KINDS: Final[Mapping[type[Operation], str]] = {
    AddService: "services added",
    SetService: "services changed",
    DelService: "services removed",
    AddDest: "real servers added",
    SetDest: "real servers changed",
    DelDest: "real servers removed",
    AddLocal: "local addresses added",
    DelLocal: "local addresses removed",
}


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reconciliation did."""

    operations: int
    refused: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    """The operations by kind."""


@final
class TableKeeper:
    """The only writer of this director's IPVS table."""

    def __init__(
        self,
        client: IpvsClient,
        emit: Emit,
        hush: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
    ) -> None:
        """*hush* is entered while schedulers are changed, which leaves services without any."""
        self._client = client
        self._emit = emit
        self._hush = hush
        self._desired: dict[ServiceKey, Entry] = {}
        self._doomed: set[ServiceKey] = set()
        self._lock = asyncio.Lock()
        self._turn = 0
        self._version = 0
        self._refused: dict[ServiceKey, set[str]] = {}
        self.repairs = 0
        """Operations so far that brought back what others changed."""

    @property
    def client(self) -> IpvsClient:
        """The client, for what is no service: sync daemons."""
        return self._client

    @property
    def traits(self) -> Traits:
        """What the kernel's dialect can do."""
        return self._client.traits

    @property
    def owned(self) -> frozenset[ServiceKey]:
        """What is ours in the kernel, or on its way there or out of it."""
        return frozenset(self._desired.keys() | self._doomed)

    def refused(self, keys: Iterable[ServiceKey]) -> tuple[str, ...]:
        """Return what the kernel refuses of *keys*, in words."""
        return tuple(text for key in keys for text in sorted(self._refused.get(key, ())))

    def want(self, entries: Mapping[ServiceKey, Entry]) -> None:
        """Set what *entries* should be from now on; :meth:`sync` brings it about."""
        self._version += 1
        for key, entry in entries.items():
            self._desired[key] = render_entry(entry, self.traits)
            self._doomed.discard(key)

    def forget(self, keys: Iterable[ServiceKey]) -> None:
        """Let *keys*, which are ours, be gone from now on; :meth:`sync` brings it about."""
        self._version += 1
        for key in keys:
            self._desired.pop(key, None)
            self._refused.pop(key, None)
            self._doomed.add(key)

    def read(self, keys: AbstractSet[ServiceKey]) -> dict[ServiceKey, Entry]:
        """Return those of *keys* that the kernel has."""
        return self._client.table(keys)

    async def sync(self, keys: AbstractSet[ServiceKey] | None = None) -> Outcome:
        """Bring *keys* to what they should be; by default everything, read back and compared."""
        async with self._lock:
            chosen = self.owned if keys is None else keys
            actual = await self._read_slowly(chosen)
            operations = await self._compare(chosen, actual)
            outcome = await self._carry_out(operations)
            if keys is None and not outcome.refused:
                self._doomed -= chosen - actual.keys()
                # Of all others the first look was just taken, and the next one comes soon.
                touched = {operation.service for operation in operations}
                actual = await self._read_slowly(touched) if touched else {}
                self._doomed -= touched - actual.keys()
                if again := await self._compare(touched, actual):
                    # Somebody else wrote meanwhile.
                    outcome = await self._carry_out(again)
            kinds = Counter(_KINDS[type(operation)] for operation in operations)
            return Outcome(len(operations), outcome.refused, kinds)

    async def check_drift(self) -> None:
        """Repair what somebody else changed since the last look, and tell it."""
        async with self._lock:
            started, version = time.monotonic(), self._version
            services = await self._services()
            self._doomed &= services.keys()
            suspects = self._doomed | {
                key for key, entry in self._desired.items() if services.get(key) != entry.service
            }
            suspects |= await self._next_turn(started, services)
            if version != self._version:
                return  # what differs now is our own wish, and its sync waits for the lock
            actual = {key: self._client.entry(services[key]) for key in suspects if key in services}
            operations = self._differences(suspects, actual)
            if not operations:
                return
            outcome = await self._carry_out(operations, quiet=True)
            self.repairs += outcome.operations - outcome.refused
            if outcome.operations > outcome.refused:
                took = format_duration(time.monotonic() - started)
                self._emit(events.DriftRepaired(len(operations), _in_words(operations), took))

    async def _next_turn(
        self, started: float, services: Mapping[ServiceKey, Service]
    ) -> set[ServiceKey]:
        """Look at the destinations of as many services as the budget allows; return what differs.

        The next look goes on where this one ends.
        """
        order = list(self._desired)
        wrong: set[ServiceKey] = set()
        breath = Breath()
        for step in range(len(order)):
            key = order[(self._turn + step) % len(order)]
            service = services.get(key)
            if service is not None and self._differences({key}, {key: self._client.entry(service)}):
                wrong.add(key)
            if time.monotonic() - started > DRIFT_BUDGET:
                self._turn = (self._turn + step + 1) % len(order)
                break
            await breath.taken()
        return wrong

    async def _read_slowly(self, keys: AbstractSet[ServiceKey]) -> dict[ServiceKey, Entry]:
        """Return those of *keys* that the kernel has; other work has its turn meanwhile."""
        found = {}
        breath = Breath()
        for key, service in (await self._services()).items():
            if key in keys:
                found[key] = self._client.entry(service)
            await breath.taken()
        return found

    async def _services(self) -> dict[ServiceKey, Service]:
        """Return all services that the kernel has; other work has its turn meanwhile."""
        found = {}
        breath = Breath()
        for service in self._client.each_service():
            found[service.key] = service
            await breath.taken()
        return found

    async def _compare(self, keys: AbstractSet[ServiceKey], actual: Table) -> list[Operation]:
        """Return what differs; a big table is compared off the loop."""
        if len(keys) <= SLICE:
            return self._differences(keys, actual)
        return await asyncio.to_thread(diff, self._chosen(keys), actual, owned=keys)

    def _differences(self, keys: AbstractSet[ServiceKey], actual: Table) -> list[Operation]:
        return diff(self._chosen(keys), actual, owned=keys)

    def _chosen(self, keys: AbstractSet[ServiceKey]) -> dict[ServiceKey, Entry]:
        return {key: entry for key in keys if (entry := self._desired.get(key)) is not None}

    async def _carry_out(self, operations: Sequence[Operation], *, quiet: bool = False) -> Outcome:
        """Apply *operations*; after a failure look once more, and tell what is still refused."""
        failures = await self._apply(operations, quiet=quiet)
        if failures:
            touched = {failure.operation.service for failure in failures}
            again = self._differences(touched, self._client.table(touched))
            failures = await self._apply(again, quiet=quiet)
        self._tell_refused({operation.service for operation in operations}, failures)
        return Outcome(len(operations), len(failures))

    async def _apply(self, operations: Sequence[Operation], *, quiet: bool) -> list[Failure]:
        # They come last, and the kernel takes so long for each that one is a slice of its own.
        rescheduled = sum(map(_reschedules, operations))
        steady = len(operations) - rescheduled
        failures: list[Failure] = []
        for start in range(0, steady, SLICE):
            part = operations[start : min(start + SLICE, steady)]
            failures += await self._send(part, quiet=quiet)
        if rescheduled:
            with self._hush:
                for operation in operations[steady:]:
                    failures += await self._send((operation,), quiet=quiet)
        return failures

    async def _send(self, part: Sequence[Operation], *, quiet: bool) -> list[Failure]:
        """Apply one slice, and let others have their turn."""
        failures = self._client.apply(part)
        if not quiet:
            refused = {failure.operation for failure in failures}
            self._tell(item for item in part if item not in refused)
        await asyncio.sleep(0)
        return failures

    def _tell_refused(self, touched: AbstractSet[ServiceKey], failures: Sequence[Failure]) -> None:
        """Tell each refusal once, until its service goes through."""
        told = {key: self._refused.pop(key, set()) for key in touched}
        missing = {each.operation.service for each in failures if _adds_service(each.operation)}
        for failure in failures:
            key, text = failure.operation.service, str(failure.operation)
            if failure.errno == errno.ESRCH and key in missing:
                continue  # a real server of what the kernel refused just before
            if text not in told[key]:
                self._emit(events.OperationRefused(text, failure.message))
            self._refused.setdefault(key, set()).add(text)

    def _tell(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            match operation:
                case AddService(service=key):
                    self._emit(events.ServiceAdded(str(key)))
                case SetService(service=key):
                    self._emit(events.ServiceChanged(str(key), str(operation)))
                case DelService(service=key):
                    self._emit(events.ServiceRemoved(str(key)))
                case _:
                    # Destinations come and go with health, which has events of its own.
                    pass


def _reschedules(operation: Operation) -> bool:
    return isinstance(operation, SetService) and operation.reschedules


def _adds_service(operation: Operation) -> bool:
    return isinstance(operation, AddService)


def _in_words(operations: Sequence[Operation]) -> str:
    shown = "; ".join(str(operation) for operation in operations[:SHOWN])
    more = len(operations) - SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown
