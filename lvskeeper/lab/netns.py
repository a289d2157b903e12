"""Network namespaces that are gone afterwards, whatever happens.

A namespace is named ``lvsk-PID-NUMBER-ROLE``: the owner's process id says whose it is, so a later
laboratory can remove what a killed one has left. Nothing outside such namespaces is touched.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar, final

from lvskeeper.errors import ExitStatus, OperatorError

PREFIX: Final = "lvsk"
CLONE_NEWNET: Final = 0x40000000
FOLDER: Final = Path("/run/netns")
NETWORK_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""Environment that must not leak into a laboratory: it has no way to a proxy."""
_numbers = itertools.count(1)

Result = TypeVar("Result")


def laboratory_prefix() -> str:
    """Return a prefix for namespace names that no other laboratory uses."""
    return f"{PREFIX}-{os.getpid()}-{next(_numbers)}"


def run_ip(*arguments: str, batch: Sequence[str] = ()) -> None:
    """Run ``ip`` once, with *batch* as its script; raise :class:`OperatorError` where it fails."""
    command = ["ip", *arguments, *(["-batch", "-"] if batch else [])]
    done = subprocess.run(
        command, input="\n".join(batch) + "\n", text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise OperatorError(
            f"{' '.join(command)} failed: {done.stderr.strip()}",
            status=ExitStatus.PERMISSION if os.geteuid() else ExitStatus.KERNEL,
            hint="run as root" if os.geteuid() else "the laboratory needs network namespaces",
        )


def remove_leftovers() -> list[str]:
    """Remove namespaces whose owner is dead; return their names."""
    gone = []
    for path in FOLDER.glob(f"{PREFIX}-*-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            gone.append(path.name)
    delete(gone)
    return gone


def delete(names: Iterable[str]) -> None:
    """Kill every process inside the namespaces *names*, then remove them. Gone is fine."""
    there = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            there[(FOLDER / name).stat().st_ino] = name
    if not there:
        return
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "ns/net").stat().st_ino in there:
                os.kill(int(process.name), signal.SIGKILL)
    # -force: the rest goes too, should one of them have been removed by somebody else meanwhile
    with contextlib.suppress(OperatorError):
        run_ip("-force", batch=[f"netns delete {name}" for name in there.values()])


def inside(name: str, work: Callable[[], Result]) -> Result:
    """Do *work* in the namespace *name* and return what it returns, or raise what it raises.

    A thread of its own steps into the namespace and ends there; that costs no process. A socket
    stays in the namespace that it was made in.
    """
    results: list[Result] = []
    failures: list[Exception] = []

    def step_in() -> None:
        try:
            descriptor = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(descriptor)
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            failures.append(error)

    thread = threading.Thread(target=step_in)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def set_sysctls(name: str, values: Mapping[str, str]) -> None:
    """Write files below ``/proc/sys/net`` of the namespace *name*: ``{"ipv4/ip_forward": "1"}``."""

    def write() -> None:
        for key, value in values.items():
            Path("/proc/sys/net", key).write_text(value)

    inside(name, write)


@final
class Namespace:
    """One namespace: ``run`` and ``popen`` commands in it; its processes die with it.

    It is made and deleted by the topology that it belongs to.
    """

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self._children: list[subprocess.Popen[Any]] = []

    def reap(self) -> None:
        """Wait for the processes that were started in here, after :func:`delete`."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what nobody reads any more
                        stream.close()
        self._children.clear()

    def ip(self, *batch: str) -> None:
        """Run ``ip`` commands in here, all of them in one process."""
        run_ip("-n", self.name, batch=batch)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return *argv* as it is started from outside."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60.0,
        input_text: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run *argv* to its end and return its output as text.

        Raises ``CalledProcessError`` (its stderr goes to ours first) where *check* is set.
        """
        done = subprocess.run(
            self.command(argv),
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=_environment(env),
        )
        if check and done.returncode:
            print(done.stderr, file=sys.stderr)
            done.check_returncode()
        return done

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start *argv*; it is killed with the namespace at the latest.

        ``ip netns exec`` becomes the command itself, so the returned process is the command's.
        """
        child = subprocess.Popen(
            self.command(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=_environment(env),
        )
        self._children.append(child)
        return child

    def python(
        self,
        *arguments: str,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start this interpreter in here: ``python("-m", "lvskeeper.lab.traffic", ...)``."""
        return self.popen([sys.executable, *arguments], stdin=stdin, stdout=stdout, stderr=stderr)


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    base = {name: value for name, value in os.environ.items()
            if name.lower() not in NETWORK_VARIABLES}  # fmt: skip
    return base | dict(extra or {})
