"""When which director had an address, as the kernels tell it."""

import re
import subprocess
import threading
from datetime import datetime
from typing import Final, Self, final

from lvskeeper.lab.netns import Namespace

_LINE: Final = re.compile(r"\[(\S+)\] *(Deleted )?\d+: \S+ +inet6? ([^/ ]+)")


@final
class VipTimes:
    """Follows the addresses of two hosts. A context manager that stops it; times are of day."""

    def __init__(self, hosts: tuple[Namespace, Namespace]) -> None:
        self._hosts = hosts
        self._changes: list[tuple[float, int, bool, str]] = []
        self._lock = threading.Lock()
        self._monitors: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for number, host in enumerate(self._hosts):
            monitor = host.popen(["ip", "-ts", "-o", "monitor", "address"], stdout=subprocess.PIPE)
            thread = threading.Thread(target=self._read, args=(number, monitor), daemon=True)
            thread.start()
            self._monitors.append(monitor)
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        for monitor, thread in zip(self._monitors, self._threads, strict=True):
            monitor.terminate()
            thread.join()

    def seen(self, address: str) -> set[int]:
        """Return which hosts have had *address* since the start, counted from 1."""
        with self._lock:
            return {host + 1 for _, host, there, name in self._changes if there and name == address}

    def both(self, address: str, since: float) -> float:
        """Return the longest time, from a time of day on, for which both had *address*."""
        have, began, longest = [False, False], 0.0, 0.0
        with self._lock:
            changes = sorted(one for one in self._changes if one[3] == address)
        for at, host, there, _ in changes:
            before, have[host] = all(have), there
            if all(have) and not before:
                began = at
            elif before and not all(have) and at >= since:
                longest = max(longest, at - max(began, since))
        return longest

    def _read(self, number: int, monitor: subprocess.Popen[str]) -> None:
        assert monitor.stdout is not None
        for line in monitor.stdout:
            if found := _LINE.match(line):
                at = datetime.fromisoformat(found[1]).timestamp()
                with self._lock:
                    self._changes.append((at, number, not found[2], found[3]))
