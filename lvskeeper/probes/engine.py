"""The probe engine: all sockets of probes in one epoll within the role's loop, and their deadlines.

The loop watches the epoll as one file. So the many answers that come between two turns of the loop
cost one wake-up, and no probe costs a task or a timer. Where one after the other comes, the loop
waits a little for the next ones. Deadlines are kept by length: those of one
length are due in the order of their making, so that each costs two steps in a dictionary.
"""

import asyncio
import select
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from math import inf
from socket import SocketType
from typing import Final, final

from lvskeeper.health.spec import Phase, ProbeResult, TcpOffer
from lvskeeper.probes.attempt import ProbeError, describe_os_error, os_error_phase, timeout_detail

MAX_EVENTS: Final = 64
"""Sockets that are looked after in one turn of the loop; the next turn takes the others."""

RUSH: Final = 0.001
"""Seconds; where the next socket is ready so soon after the last, more are to be expected."""
PAUSE: Final = 0.002
"""Seconds for which they are then left to gather, rather than that each wakes the loop alone."""

STALL: Final = 0.1
"""Seconds that an alarm comes late from which on the lateness is ours, and no server's fault."""
MAX_GRANTS: Final = 8
"""Times that one limit is put off as something has come that we had no time to look at."""

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
FAILED: Final = select.EPOLLERR | select.EPOLLHUP


class Flow(ABC):
    """One probe on its way. The engine wakes it; it ends once, and the engine tells that.

    What a subclass raises ends it: :class:`ProbeError`, ``OSError`` with the phase in
    :attr:`phase`; any other exception is a bug, and ``Phase.INTERNAL``.
    """

    __slots__ = (
        "_engine", "_mask", "_number", "_sock", "_started", "doing", "expires", "granted", "key",
        "limit", "offer", "phase", "result", "term",
    )  # fmt: skip

    def __init__(self, engine: "Engine", key: Hashable) -> None:
        self._engine = engine
        self.key = key
        """The caller's name for it."""
        self._sock: SocketType | None = None
        self._number = -1
        """Of the socket, where the engine watches it."""
        self._mask = 0
        self._started = 0.0
        self.phase = Phase.CONNECT
        """What a failure now would be of."""
        self.doing = "connecting"
        """In words, for one that takes too long."""
        self.limit = 0.0
        """Seconds for that; kept by the engine."""
        self.term = 0.0
        """Seconds that it was given last; kept by the engine."""
        self.granted = 0
        """How often it has had more time, as we were late."""
        self.offer: TcpOffer | None = None
        self.expires: float | None = None
        self.result: ProbeResult | None = None
        """How it ended."""

    def begin(self) -> None:
        """Start; an end at once is told in the next turn of the loop."""
        self._started = self._engine.time()
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001 - a bug in one probe must not stop the others
            self._fail(error)

    def wake(self, mask: int) -> None:
        """Go on, as *mask* says what the socket is ready for."""
        try:
            self._ready(mask)
        except BlockingIOError:
            pass  # woken for nothing: there will be another time
        except Exception as error:  # noqa: BLE001 - a bug in one probe must not stop the others
            self._fail(error)

    def expire(self) -> None:
        """Take that the time is over."""
        self.end(Phase.TIMEOUT, timeout_detail(self.doing, self.limit))

    def ready_for(self) -> int:
        """Return what the socket is ready for right now."""
        if self._sock is None:
            return 0
        poll = select.poll()
        poll.register(self._number, self._mask)
        return sum(mask for _, mask in poll.poll(0))

    def drop(self) -> None:
        """Let go of everything; the end is told to nobody."""
        self._let_go()
        self.result = self.result or ProbeResult(Phase.INTERNAL, "dropped")

    def end(self, phase: Phase, detail: str = "") -> None:
        """End, and let that be told."""
        if self.result is None:
            self._let_go()
            engine = self._engine
            elapsed = engine.time() - self._started
            self.result = ProbeResult(phase, detail, elapsed, self.offer, expires=self.expires)
            engine.ended(self)

    def _fail(self, error: Exception) -> None:
        """End by what was raised."""
        match error:
            case ProbeError():
                self.end(error.phase, error.detail)
            case OSError():
                self.end(os_error_phase(error, self.phase), describe_os_error(error))
            case _:
                self.end(Phase.INTERNAL, f"{type(error).__name__}: {error}")

    def _let_go(self) -> None:
        """Give back all that it holds."""
        self._engine.unlimit(self)
        self._close()

    def _watch(self, sock: SocketType, mask: int) -> None:
        """Be woken when *sock* is ready for *mask*."""
        self._sock = sock
        self._mask = mask
        self._number = self._engine.watch(self, sock, mask)

    def _watch_for(self, mask: int) -> None:
        """Be woken when the socket is ready for *mask*, instead."""
        self._mask = mask
        self._engine.change(self._number, mask)

    def _close(self) -> None:
        """Close the socket, if there is one; epoll forgets it by that."""
        if (sock := self._sock) is not None:
            self._sock = None
            self._engine.forget(self._number)
            sock.close()

    @abstractmethod
    def _begin(self) -> None:
        """Start."""

    @abstractmethod
    def _ready(self, mask: int) -> None:
        """Go on."""


@final
class Engine:
    """Wakes flows when their sockets are ready, or their time is over."""

    def __init__(self, on_end: Callable[[Flow], None]) -> None:
        """Make an engine that hands every flow that has ended to *on_end*."""
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self.time: Final = self._loop.time
        self._epoll = select.epoll()
        self._flows: dict[int, Flow] = {}
        """By the number of the socket."""
        self._limits: dict[float, dict[Flow, float]] = {}
        """When whose time is over, by the length of that time."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._ended: list[Flow] = []
        self._telling = False
        self._woken = -inf
        """When sockets were looked after last."""
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)

    def close(self) -> None:
        """Watch nothing any more; the flows are the caller's to drop first."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for timer in (self._alarm, self._pause):
            if timer is not None:
                timer.cancel()

    def watch(self, flow: Flow, sock: SocketType, mask: int) -> int:
        """Wake *flow* when *sock* is ready for *mask*; return the socket's number."""
        number = sock.fileno()
        self._flows[number] = flow
        self._epoll.register(number, mask)
        return number

    def change(self, number: int, mask: int) -> None:
        """Wake for *mask* of the socket *number* from now on."""
        self._epoll.modify(number, mask)

    def forget(self, number: int) -> None:
        """Wake nobody for the socket *number*, which is closed next."""
        self._flows.pop(number, None)

    def limit(self, flow: Flow, seconds: float) -> None:
        """Let the time of *flow* be over in so many seconds, in place of any earlier limit."""
        flow.limit = seconds
        flow.granted = 0
        self._put(flow, seconds)

    def _put(self, flow: Flow, seconds: float) -> None:
        if flow.term:
            self.unlimit(flow)
        flow.term = seconds
        due = self.time() + seconds
        flows = self._limits.get(seconds)
        if flows is None:
            flows = self._limits[seconds] = {}
        flows[flow] = due
        if due < self._alarm_at:
            self._set_alarm(due)

    def unlimit(self, flow: Flow) -> None:
        """Give *flow* all the time."""
        if (flows := self._limits.get(flow.term)) is not None:
            flows.pop(flow, None)

    def ended(self, flow: Flow) -> None:
        """Take that *flow* has ended; that is told when no other is being woken."""
        self._ended.append(flow)
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell)

    def _on_ready(self) -> None:
        """Look after the sockets that are ready, and soon after that not before a pause."""
        now = self.time()
        if now - self._woken < RUSH:
            self._loop.remove_reader(self._epoll.fileno())
            self._pause = self._loop.call_at(now + PAUSE, self._on_pause)
        else:
            self._woken = now
            self._wake_ready()

    def _on_pause(self) -> None:
        if self._wake_ready():
            self._pause = self._loop.call_later(PAUSE, self._on_pause)
        else:
            self._pause = None
            self._loop.add_reader(self._epoll.fileno(), self._on_ready)

    def _wake_ready(self) -> int:
        """Wake whose socket is ready; return how many there were."""
        # Ends are told after the last event: who is told may open a socket with the number of one
        # that was closed meanwhile, whose event would then be taken for that of the new one.
        telling, self._telling = self._telling, True
        events = self._epoll.poll(0, MAX_EVENTS)
        for number, mask in events:
            if (flow := self._flows.get(number)) is not None:
                flow.wake(mask)
        if not telling:
            self._tell()
        return len(events)

    def _tell(self) -> None:
        ended, self._ended, self._telling = self._ended, [], False
        for flow in ended:
            try:
                self._on_end(flow)
            except Exception as error:  # noqa: BLE001 - the others are to be told all the same
                self._loop.call_exception_handler(
                    {"message": "telling the end of a probe", "exception": error}
                )

    def _set_alarm(self, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = self._loop.call_at(due, self._on_alarm)

    def _on_alarm(self) -> None:
        # A timer may come a clock tick early: what it was set for is due by definition.
        now = max(self.time(), self._alarm_at)
        stall = now - self._alarm_at
        self._alarm, self._alarm_at = None, inf
        late: list[Flow] = []
        following = inf
        for seconds, flows in list(self._limits.items()):
            for flow, due in flows.items():
                if due > now:
                    following = min(following, due)
                    break
                late.append(flow)
            if not flows:
                del self._limits[seconds]
        for flow in late:
            self._judge(flow, stall)
        if following < self._alarm_at:
            self._set_alarm(following)

    def _judge(self, flow: Flow, stall: float) -> None:
        """Let *flow* expire, unless it is we who are late: by *stall* seconds, or for its answer.

        What has come and waits to be looked at counts, as after a stall or among many others. Who
        has nothing gets once the time that a stall took from it.
        """
        mask = flow.ready_for()
        if not (flow.granted < MAX_GRANTS if mask else stall > STALL and not flow.granted):
            flow.expire()
        elif flow.result is None:
            # Not after it was woken: it may have got the time of its next step by that.
            flow.granted += 1
            self._put(flow, max(stall, STALL))
            if mask:
                flow.wake(mask)
