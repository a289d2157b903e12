"""What systemd is told of the daemon: sd_notify(3), without a library.

A message is one datagram of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET`` names. None
of it waits, and none of it fails the daemon: without systemd there is no socket, and a systemd that
does not read has worse troubles.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Final, final


@final
class Notifier:
    """The way to systemd; it leads nowhere where nobody asked for it."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Take the way out of *environment*, so that children do not find it there."""
        environment = os.environ if environment is None else environment
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit = environment.pop("WATCHDOG_USEC", "")
        whom = environment.pop("WATCHDOG_PID", "")
        ours = not whom or whom == str(os.getpid())
        self.watchdog_limit: Final = int(limit) / 1e6 if ours and limit.isdigit() else 0.0
        """Seconds without :meth:`alive` after which systemd ends us; 0 where it does not."""
        self._socket: socket.socket | None = None
        self._status = ""
        if self._address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """Tell that the configuration is served, and *status* in words."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Tell in words how it is, if that changed."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """Tell that a reload began; :meth:`ready` ends it. Both lines have to come together."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={usec}", "STATUS=reloading")
        self._status = "reloading"

    def stopping(self, reason: str) -> None:
        """Tell that the daemon is about to end."""
        self._send("STOPPING=1", f"STATUS=stopping: {reason}")

    def alive(self) -> None:
        """Tell that all is in motion, for the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            address = self._address.replace("@", "\0", 1)
            text = "\n".join(line.replace("\n", " ") for line in lines)
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(errors="backslashreplace"), address)


@final
@dataclass(slots=True)
class Motion:
    """Whether the roles get on, from the rounds that their beats count; time comes from outside.

    A beat alone says that a loop turns. A round is a look at the kernel's tables that was finished
    (director), or one at what did not work so far (router).
    """

    rounds: dict[str, int] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    """When the rounds of each role last grew."""

    def on_beat(self, role: str, rounds: int, now: float) -> None:
        """Hear that *role* has finished so many *rounds* of its life."""
        if self.rounds.get(role) != rounds:
            self.rounds[role] = rounds
            self.moved[role] = now

    def all_move(self, roles: Iterable[str], now: float, patience: float) -> bool:
        """Tell whether each of *roles* finished a round within *patience* seconds.

        One that was not heard of yet counts from the first time that it is asked for.
        """
        return all(now - self.moved.setdefault(role, now) <= patience for role in roles)
