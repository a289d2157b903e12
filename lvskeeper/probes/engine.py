"""The probe engine: all sockets of probes in one epoll within the role's loop, and their deadlines.

The loop watches the epoll as one file. So the many answers that come between two turns of the loop
cost one wake-up, and no probe costs a task or a timer. Deadlines are kept by length: those of one
length are due in the order of their making, so that each costs two steps in a dictionary.
"""

import asyncio
import select
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from socket import SocketType
from typing import Final, final

from lvskeeper.health.spec import Phase, ProbeResult, TcpOffer
from lvskeeper.probes.attempt import ProbeError, describe_os_error, os_error_phase, timeout_detail

MAX_EVENTS: Final = 128
"""Sockets that are looked after in one turn of the loop; the next turn takes the others."""

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
FAILED: Final = select.EPOLLERR | select.EPOLLHUP


class Flow(ABC):
    """One probe on its way. The engine wakes it; it ends once, and the end is handed to *on_end*.

    What a subclass raises ends it: :class:`ProbeError`, ``OSError`` with the phase in
    :attr:`phase`; any other exception is a bug, and ``Phase.INTERNAL``.
    """

    __slots__ = (
        "_engine", "_on_end", "_sock", "_started", "doing", "expires", "limit", "offer", "phase",
        "result",
    )  # fmt: skip

    def __init__(self, engine: "Engine", on_end: "Callable[[Flow], None]") -> None:
        self._engine = engine
        self._on_end = on_end
        self._sock: SocketType | None = None
        self._started = 0.0
        self.phase = Phase.CONNECT
        """What a failure now would be of."""
        self.doing = "connecting"
        """In words, for one that takes too long."""
        self.limit = 0.0
        """Seconds for that; kept by the engine."""
        self.offer: TcpOffer | None = None
        self.expires: float | None = None
        self.result: ProbeResult | None = None
        """How it ended."""

    def begin(self) -> None:
        """Start; an end at once is handed over in the next turn of the loop."""
        self._started = self._engine.time()
        self._guard(self._begin)

    def wake(self, mask: int) -> None:
        """Go on, as *mask* says what the socket is ready for."""
        try:
            self._ready(mask)
        except BlockingIOError:
            pass  # woken for nothing: there will be another time
        except ProbeError as error:
            self.end(error.phase, error.detail)
        except OSError as error:
            self.end(os_error_phase(error, self.phase), describe_os_error(error))
        except Exception as error:  # noqa: BLE001 - a bug in one probe must not stop the others
            self.end(Phase.INTERNAL, f"{type(error).__name__}: {error}")

    def expire(self) -> None:
        """Take that the time is over."""
        self.end(Phase.TIMEOUT, timeout_detail(self.doing, self.limit))

    def drop(self) -> None:
        """Let go of everything; nobody asks for the end any more."""
        self._let_go()
        self._on_end = _nobody
        self.result = self.result or ProbeResult(Phase.INTERNAL, "dropped")

    def end(self, phase: Phase, detail: str = "") -> None:
        """End, and let that be told."""
        if self.result is None:
            self._let_go()
            elapsed = self._engine.time() - self._started
            self.result = ProbeResult(phase, detail, elapsed, self.offer, expires=self.expires)
            self._engine.ended(self)

    def tell(self) -> None:
        """Hand the end over."""
        self._on_end(self)

    def _guard(self, step: Callable[[], None]) -> None:
        """Do *step*, and end where it fails."""
        try:
            step()
        except ProbeError as error:
            self.end(error.phase, error.detail)
        except OSError as error:
            self.end(os_error_phase(error, self.phase), describe_os_error(error))
        except Exception as error:  # noqa: BLE001 - a bug in one probe must not stop the others
            self.end(Phase.INTERNAL, f"{type(error).__name__}: {error}")

    def _let_go(self) -> None:
        self._engine.unlimit(self)
        self._close()

    def _close(self) -> None:
        """Close the socket, if there is one; epoll forgets it by that."""
        if (sock := self._sock) is not None:
            self._sock = None
            self._engine.forget(sock)
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

    def __init__(self) -> None:
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
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)

    def close(self) -> None:
        """Watch nothing any more; the flows are the caller's to drop first."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        if self._alarm is not None:
            self._alarm.cancel()

    def watch(self, flow: Flow, sock: SocketType, mask: int) -> None:
        """Wake *flow* when *sock* is ready for *mask*."""
        number = sock.fileno()
        self._flows[number] = flow
        self._epoll.register(number, mask)

    def change(self, sock: SocketType, mask: int) -> None:
        """Wake for *mask* from now on."""
        self._epoll.modify(sock.fileno(), mask)

    def forget(self, sock: SocketType) -> None:
        """Wake nobody for *sock*, which is closed next."""
        self._flows.pop(sock.fileno(), None)

    def limit(self, flow: Flow, seconds: float) -> None:
        """Let the time of *flow* be over in so many seconds, in place of any earlier limit."""
        self.unlimit(flow)
        flow.limit = seconds
        due = self.time() + seconds
        self._limits.setdefault(seconds, {})[flow] = due
        if due < self._alarm_at:
            self._set_alarm(due)

    def unlimit(self, flow: Flow) -> None:
        """Give *flow* all the time."""
        if (flows := self._limits.get(flow.limit)) is not None:
            flows.pop(flow, None)

    def ended(self, flow: Flow) -> None:
        """Take that *flow* has ended; it tells that when no other is being woken."""
        self._ended.append(flow)
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell)

    def _on_ready(self) -> None:
        # Ends are told after the last event: who is told may open a socket with the number of one
        # that was closed meanwhile, whose event would then be taken for that of the new one.
        telling, self._telling = self._telling, True
        for number, mask in self._epoll.poll(0, MAX_EVENTS):
            if (flow := self._flows.get(number)) is not None:
                flow.wake(mask)
        if not telling:
            self._tell()

    def _tell(self) -> None:
        ended, self._ended, self._telling = self._ended, [], False
        for flow in ended:
            try:
                flow.tell()
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
            flow.expire()
        if following < self._alarm_at:
            self._set_alarm(following)


def _nobody(_: Flow) -> None:
    pass
