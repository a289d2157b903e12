"""How the daemon stands, from the beats of its roles: for systemd's watchdog and status line."""

import time
from collections.abc import Callable, Collection
from typing import Final, final

from lvskeeper.daemon.channel import Applied, Beat
from lvskeeper.daemon.role import RoleName
from lvskeeper.daemon.sd_notify import Motion, Notifier

PATIENCE_SHARE: Final = 0.5
"""How much of ``WatchdogSec`` a role may need for its next round before nothing is told: the time
in which a stuck one is killed and a new one found its way has to fit."""

PING_SHARE: Final = 0.25
"""How much of ``WatchdogSec`` passes between two signs of life."""


@final
class Standing:
    """Tells systemd how the daemon stands; nobody where there is none."""

    def __init__(
        self, systemd: Notifier | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._systemd = systemd or Notifier()
        self._clock = clock
        self._motion = Motion()
        self._pinged = clock()
        self._counts: dict[RoleName, tuple[int, int]] = {}
        self._serves = False

    def on_ready(self, applied: Applied | None = None) -> None:
        """Hear that what is to be served is, as *applied* says; or that it goes on as it was."""
        if applied is not None:
            self._counts[RoleName.DIRECTOR] = (
                self._counts.get(RoleName.DIRECTOR, (0, 0))[0], applied.real_servers,
            )  # fmt: skip
            self._counts[RoleName.ROUTER] = (
                self._counts.get(RoleName.ROUTER, (0, 0))[0], applied.instances,
            )  # fmt: skip
        self._serves = True
        self._systemd.ready(self._words())

    def on_reload(self) -> None:
        """Hear that a reload begins; :meth:`on_ready` ends it."""
        self._serves = False
        self._systemd.reloading()

    def on_stop(self, reason: str) -> None:
        """Hear that a stop was asked for."""
        self._serves = False
        self._systemd.stopping(reason)

    def on_beat(self, role: RoleName, beat: Beat, wanted: Collection[RoleName]) -> None:
        """Hear a *beat*; *wanted* are the roles that are to be there."""
        now = self._clock()
        self._motion.on_beat(role, beat.rounds, now)
        if self._serves:
            self._counts[role] = (beat.good, beat.total)
            self._systemd.status(self._words())
        limit = self._systemd.watchdog_limit
        if (
            limit
            and now - self._pinged >= limit * PING_SHARE
            and self._motion.all_move(wanted, now, limit * PATIENCE_SHARE)
        ):
            self._pinged = now
            self._systemd.alive()

    def close(self) -> None:
        """Give the socket back."""
        self._systemd.close()

    def _words(self) -> str:
        masters, instances = self._counts.get(RoleName.ROUTER, (0, 0))
        up, servers = self._counts.get(RoleName.DIRECTOR, (0, 0))
        parts = []
        if instances:
            parts.append(f"MASTER {masters}/{instances}")
        if servers:
            parts.append(f"real servers {up}/{servers}")
        return ", ".join(parts) or "nothing to serve"
