"""Runs probes: each a task with a hard deadline, no more than a limit of them at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar, final

from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult
from lvskeeper.probes.dns import probe_dns
from lvskeeper.probes.http import HttpProber
from lvskeeper.probes.ping import probe_ping
from lvskeeper.probes.smtp import probe_smtp
from lvskeeper.probes.tcp import probe_tcp
from lvskeeper.probes.udp import probe_udp

MAX_PROBES: Final = 512
"""Probes at a time; each holds one file descriptor. Others wait for their turn."""
GRACE: Final = 1.0
"""Seconds beyond a probe's own limit after which it is cut off as stuck."""

Id = TypeVar("Id", bound=Hashable)


Prober: TypeAlias = Callable[[CheckSpec], Awaitable[ProbeResult]]
"""Makes one probe. A cancel ends it."""


@final
class ProbeRunner(Generic[Id]):
    """Starts probes and hands each result to *on_result*, on the loop, exactly once.

    A probe that is cancelled has no result. Whatever goes wrong inside a probe becomes a result
    with ``Phase.INTERNAL``.
    """

    def __init__(
        self,
        on_result: Callable[[Id, ProbeResult], None],
        *,
        limit: int = MAX_PROBES,
        others: Mapping[CheckKind, Prober] = MappingProxyType({}),
    ) -> None:
        """Make a runner without probes.

        *others* make the probes of the kinds that are not of this room: scripts and files.
        """
        self._on_result = on_result
        self._limit = limit
        self._tasks: dict[Id, asyncio.Task[ProbeResult]] = {}
        self._ending: set[asyncio.Task[ProbeResult]] = set()
        # At most one entry an id, so it is as bounded as the configuration.
        self._waiting: dict[Id, CheckSpec] = {}
        self._http = HttpProber()
        self._probers: dict[CheckKind, Prober] = {
            CheckKind.TCP: probe_tcp,
            CheckKind.HTTP: self._http.probe,
            CheckKind.SSL: self._http.probe,
            CheckKind.MISC: _nobody,
            CheckKind.FILE: _nobody,
            CheckKind.UDP: probe_udp,
            CheckKind.DNS: probe_dns,
            CheckKind.SMTP: probe_smtp,
            CheckKind.PING: probe_ping,
            **others,
        }
        self._closed = False

    @property
    def running(self) -> int:
        """Probes that run now."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Probes that wait because the limit is reached: above 0 for long, it is too low."""
        return len(self._waiting)

    def forget_files(self) -> None:
        """Read the files that checks name anew, as after a reload."""
        self._http.forget_files()

    def start(self, probe_id: Id, spec: CheckSpec) -> None:
        """Probe *spec* once. Raise ``ValueError`` while *probe_id* has a probe already."""
        if self._closed:
            raise RuntimeError("the probe runner is closed")
        if probe_id in self._tasks or probe_id in self._waiting:
            raise ValueError(f"{probe_id} has a probe already")
        if len(self._tasks) + len(self._ending) < self._limit:
            self._launch(probe_id, spec)
        else:
            self._waiting[probe_id] = spec

    def cancel(self, probe_id: Id) -> None:
        """Drop the probe of *probe_id*, if it has one; its result will not come."""
        self._waiting.pop(probe_id, None)
        if (task := self._tasks.pop(probe_id, None)) is not None:
            self._ending.add(task)
            task.cancel()

    async def close(self) -> None:
        """Drop all probes and wait until their sockets are closed."""
        self._closed = True
        self._waiting.clear()
        for probe_id in list(self._tasks):
            self.cancel(probe_id)
        if self._ending:
            await asyncio.wait(self._ending)
        self._http.close()

    def _launch(self, probe_id: Id, spec: CheckSpec) -> None:
        task = asyncio.get_running_loop().create_task(self._probe(spec))
        self._tasks[probe_id] = task
        task.add_done_callback(partial(self._on_done, probe_id))

    def _on_done(self, probe_id: Id, task: asyncio.Task[ProbeResult]) -> None:
        wanted = self._tasks.get(probe_id) is task
        if wanted:
            del self._tasks[probe_id]
        self._ending.discard(task)
        if not wanted and not task.cancelled():
            task.exception()  # what nobody asks for any more is no news for the loop
        if self._waiting and not self._closed:
            next_id = next(iter(self._waiting))
            self._launch(next_id, self._waiting.pop(next_id))
        if wanted:
            self._on_result(probe_id, _outcome(task))

    async def _probe(self, spec: CheckSpec) -> ProbeResult:
        limit = spec.longest + GRACE
        try:
            async with asyncio.timeout(limit):
                return await self._probers[spec.kind](spec)
        except TimeoutError:
            return ProbeResult(Phase.TIMEOUT, "the probe was stuck and was cut off", limit)


async def _nobody(spec: CheckSpec) -> ProbeResult:
    return ProbeResult(Phase.INTERNAL, f"nobody makes a {spec.kind.value} here")


def _outcome(task: asyncio.Task[ProbeResult]) -> ProbeResult:
    if task.cancelled():
        return ProbeResult(Phase.INTERNAL, "the probe was cancelled from outside")
    if (error := task.exception()) is not None:
        return ProbeResult(Phase.INTERNAL, f"{type(error).__name__}: {error}")
    return task.result()
