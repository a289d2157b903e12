"""Runs probes: no more than a limit of them at a time, each with one result."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar, assert_never, cast, final

from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult
from lvskeeper.probes.datagram import DatagramFlow
from lvskeeper.probes.engine import Engine, Flow
from lvskeeper.probes.http import http_steps
from lvskeeper.probes.search import Searcher
from lvskeeper.probes.smtp import smtp_steps
from lvskeeper.probes.stream import StreamFlow, TcpFlow, Tools
from lvskeeper.probes.tls import Contexts

MAX_PROBES: Final = 16_384
"""Probes at a time; each holds one file descriptor. Others wait for their turn.

It is far above what a farm needs that is well: of 2,000 probes a second 400 are on their way after
0.2 s. But those of dead servers last as long as their limit, and the others must not wait for them.
"""
GRACE: Final = 1.0
"""Seconds beyond a task's own limit after which it is cut off as stuck."""

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
        self._engine = Engine(self._on_end)
        self._tools = Tools(Contexts(), Searcher())
        self._others = others
        self._running: dict[Id, Flow | asyncio.Task[ProbeResult]] = {}
        self._ending: set[asyncio.Task[ProbeResult]] = set()
        # At most one entry an id, so it is as bounded as the configuration.
        self._waiting: dict[Id, CheckSpec] = {}
        self._closed = False

    @property
    def running(self) -> int:
        """Probes that run now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Probes that wait because the limit is reached: above 0 for long, it is too low."""
        return len(self._waiting)

    def forget_files(self) -> None:
        """Read the files that checks name anew, as after a reload."""
        self._tools.contexts.forget_files()

    def start(self, probe_id: Id, spec: CheckSpec) -> None:
        """Probe *spec* once. Raise ``ValueError`` while *probe_id* has a probe already."""
        if self._closed:
            raise RuntimeError("the probe runner is closed")
        if probe_id in self._running or probe_id in self._waiting:
            raise ValueError(f"{probe_id} has a probe already")
        if len(self._running) + len(self._ending) < self._limit:
            self._launch(probe_id, spec)
        else:
            self._waiting[probe_id] = spec

    def cancel(self, probe_id: Id) -> None:
        """Drop the probe of *probe_id*, if it has one; its result will not come."""
        self._waiting.pop(probe_id, None)
        running = self._running.pop(probe_id, None)
        if isinstance(running, Flow):
            running.drop()
            self._let_in()
        elif running is not None:
            self._ending.add(running)
            running.cancel()

    async def close(self) -> None:
        """Drop all probes and wait until their sockets are closed."""
        if self._closed:
            return
        self._closed = True
        self._waiting.clear()
        for probe_id in list(self._running):
            self.cancel(probe_id)
        if self._ending:
            await asyncio.wait(self._ending)
        self._engine.close()
        self._tools.searcher.close()

    def _launch(self, probe_id: Id, spec: CheckSpec) -> None:
        flow: Flow
        match spec.kind:
            case CheckKind.TCP:
                flow = TcpFlow(self._engine, probe_id, spec)
            case CheckKind.HTTP | CheckKind.SSL:
                flow = StreamFlow(self._engine, probe_id, http_steps(spec), self._tools)
            case CheckKind.SMTP:
                flow = StreamFlow(self._engine, probe_id, smtp_steps(spec), self._tools)
            case CheckKind.UDP | CheckKind.DNS | CheckKind.PING:
                flow = DatagramFlow(self._engine, probe_id, spec)
            case CheckKind.MISC | CheckKind.FILE:
                task = asyncio.get_running_loop().create_task(self._probe(spec))
                self._running[probe_id] = task
                task.add_done_callback(partial(self._on_done, probe_id))
                return
            case _:
                assert_never(spec.kind)
        self._running[probe_id] = flow
        flow.begin()

    def _on_end(self, flow: Flow) -> None:
        probe_id = cast("Id", flow.key)
        if self._running.get(probe_id) is not flow:
            return  # it was dropped
        del self._running[probe_id]
        if self._waiting:
            self._let_in()
        assert flow.result is not None
        self._on_result(probe_id, flow.result)

    def _on_done(self, probe_id: Id, task: asyncio.Task[ProbeResult]) -> None:
        wanted = self._running.get(probe_id) is task
        if wanted:
            del self._running[probe_id]
        self._ending.discard(task)
        if not wanted and not task.cancelled():
            task.exception()  # what nobody asks for any more is no news for the loop
        self._let_in()
        if wanted:
            self._on_result(probe_id, _outcome(task))

    def _let_in(self) -> None:
        """Start the first of those that wait, as a place is free."""
        if self._waiting and not self._closed:
            next_id = next(iter(self._waiting))
            self._launch(next_id, self._waiting.pop(next_id))

    async def _probe(self, spec: CheckSpec) -> ProbeResult:
        limit = spec.longest + GRACE
        if (prober := self._others.get(spec.kind)) is None:
            return ProbeResult(Phase.INTERNAL, f"nobody makes a {spec.kind.value} here")
        try:
            async with asyncio.timeout(limit):
                return await prober(spec)
        except TimeoutError:
            # The kinds themselves tell when a server is slow; what is stuck beyond that is ours.
            return ProbeResult(Phase.INTERNAL, "the probe was stuck and was cut off", limit)


def _outcome(task: asyncio.Task[ProbeResult]) -> ProbeResult:
    if task.cancelled():
        return ProbeResult(Phase.INTERNAL, "the probe was cancelled from outside")
    if (error := task.exception()) is not None:
        return ProbeResult(Phase.INTERNAL, f"{type(error).__name__}: {error}")
    return task.result()
