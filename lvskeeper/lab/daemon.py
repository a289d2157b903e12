"""A running ``lvskeeper run`` in a namespace of the laboratory, and what it says."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self, final

from lvskeeper.lab.netns import Namespace

START_DEADLINE: Final = 180.0
"""Seconds until the first configuration is applied; emulation makes Python's imports slow."""

STOP_DEADLINE: Final = 30.0


@final
@dataclass(frozen=True, slots=True)
class Told:
    """An event that the daemon has told."""

    name: str
    fields: Mapping[str, Any]
    seen: float
    """Monotonic clock when its line was read."""

    @property
    def at(self) -> float:
        """Time of day at which the daemon told it, as packets have it."""
        return datetime.fromisoformat(self.fields["timestamp"]).timestamp()

    def has(self, fields: Mapping[str, object]) -> bool:
        """Tell whether all of *fields* are as given."""
        return all(self.fields.get(name) == value for name, value in fields.items())


@final
class Daemon:
    """Starts, reloads, kills and stops a daemon. A context manager that leaves none behind."""

    def __init__(self, namespace: Namespace, file: Path, run_dir: Path) -> None:
        self._namespace = namespace
        self.file: Final = file
        self.run_dir: Final = run_dir
        self.options: Final[list[str]] = []
        """Further options of ``run``."""
        self._told: list[Told] = []
        self._noise: list[str] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def told(self) -> list[Told]:
        """All events so far."""
        with self._changed:
            return list(self._told)

    @property
    def noise(self) -> str:
        """What it wrote beside events: the report of a refused file, a traceback."""
        with self._changed:
            return "".join(self._noise)

    def take_noise(self) -> str:
        """Return what it wrote beside events, and forget it."""
        with self._changed:
            noise = "".join(self._noise)
            self._noise.clear()
        return noise

    @property
    def pids(self) -> list[int]:
        """Its processes, the supervisor first."""
        if self._process is None:
            return []
        pid = self._process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [pid, *map(int, children)]
        return [pid]

    def role(self, name: Literal["director", "router"]) -> int:
        """Return the process of a role; raise ``LookupError`` where none runs."""
        for pid in self.pids[1:]:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == f"lvs:{name}":
                    return pid
        raise LookupError(f"no {name} role runs")

    def events(self, *names: str, since: float = float("-inf"), **fields: object) -> list[Told]:
        """Return the events with one of *names*, or all, with *fields*, told since a mark."""
        return [
            event
            for event in self.told
            if event.seen >= since and (not names or event.name in names) and event.has(fields)
        ]

    def start(self, *, wait: bool = True) -> Told | None:
        """Start it; with *wait*, until its first configuration is in the kernel."""
        mark = time.monotonic()
        arguments = ["-m", "lvskeeper", "run", "-f", str(self.file)]
        arguments += ["--run-dir", str(self.run_dir)]
        arguments += ["--log-format", "json", "--log-level", "debug", *self.options]
        self._process = self._namespace.python(*arguments, stderr=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        return self.wait_for("daemon_ready", since=mark, timeout=START_DEADLINE) if wait else None

    def wait_for(
        self, name: str, *, since: float = float("-inf"), timeout: float = 30.0, **fields: object
    ) -> Told:
        """Return the first event *name* with the given *fields* that was told since a mark.

        Raises ``TimeoutError``, which tells what came instead.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                for event in self._told:
                    if event.name == name and event.seen >= since and event.has(fields):
                        return event
                left = deadline - time.monotonic()
                ended = self._process is None or self._process.poll() is not None
                if left <= 0 or ended:
                    came = "".join(
                        f"\n  {event.name} {dict(event.fields)}"
                        for event in self._told
                        if event.seen >= since
                    )
                    state = "ended" if ended else f"did not tell it within {timeout:g} s"
                    raise TimeoutError(f"{name}: the daemon {state}:{came}\n{self.noise}")
                self._changed.wait(min(left, 0.2))

    def reload(self) -> float:
        """Ask for a reload; return the moment."""
        assert self._process is not None
        mark = time.monotonic()
        self._process.send_signal(signal.SIGHUP)
        return mark

    def ask_for_reports(self) -> float:
        """Have every VRRP instance report how it is; return the moment."""
        assert self._process is not None
        mark = time.monotonic()
        self._process.send_signal(signal.SIGUSR1)
        return mark

    def freeze(self, *pids: int) -> list[int]:
        """Let *pids*, or all its processes, stand still; return them for :meth:`thaw`."""
        frozen = [*pids] or self.pids
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        return frozen

    def thaw(self, pids: Iterable[int]) -> None:
        """Let *pids* go on."""
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def end(self, pid: int) -> None:
        """End one of its processes alone with SIGKILL."""
        os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """End all its processes with SIGKILL, before any of them can say goodbye."""
        if self._process is not None and self._process.poll() is None:
            # A supervisor that runs would start roles again, one that is gone would end them.
            self._process.send_signal(signal.SIGSTOP)
            for pid in reversed(self.pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._finish()

    def kill_supervisor(self) -> None:
        """End the supervisor alone with SIGKILL; the roles are to end by themselves."""
        assert self._process is not None
        self._process.kill()
        self._finish()

    def stop(self) -> int:
        """End it with SIGTERM and return its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(STOP_DEADLINE)
        self._finish()
        return status

    def _finish(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_DEADLINE)
        if self._reader is not None:
            self._reader.join(STOP_DEADLINE)
        self._process = None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                fields = json.loads(line)
                told = Told(fields.pop("event"), fields, time.monotonic())
            except (ValueError, KeyError, AttributeError):
                with self._changed:
                    self._noise.append(line)
                continue
            with self._changed:
                self._told.append(told)
                self._changed.notify_all()
