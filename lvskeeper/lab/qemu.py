"""One virtual machine: booted by virtme-ng, given one command, gone without a trace.

The guest's half is :mod:`lvskeeper.lab.guest`.
"""

import contextlib
import fcntl
import json
import os
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.lab import guest
from lvskeeper.lab.kernels import VM_VARIABLE

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CACHE: Final = REPOSITORY / ".cache" / "lab"
"""Verdict on KVM, console log of the last VM that failed."""
CONSOLE_LOG: Final = CACHE / "console.log"
WORK_PREFIX: Final = "lvskeeper-vm-"
KVM_DEADLINE: Final = 20.0
"""A VM under KVM is up within 5 s; some hosts offer a /dev/kvm that never runs anything."""
BOOT_DEADLINE: Final = 240.0
"""A VM under emulation is up within 30 s on an idle machine, and several times that on a busy."""
CONSOLE_TAIL: Final = 25
KERNEL_OPTIONS: Final = "mitigations=off"
"""Guards against attacks, which nobody makes here, cost seconds under emulation."""
TIMED_OUT: Final = 124
"""Exit status of a command that was stopped by its time limit, as timeout(1) has it."""
PASSED: Final = (
    "CI", "COLUMNS", "FORCE_COLOR", "LANG", "LC_ALL", "LINES", "NO_COLOR", "PYTEST_ADDOPTS",
    "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "TERM", "TZ",
)  # fmt: skip
PASSED_PREFIXES: Final = ("LVSKEEPER_", "HYPOTHESIS_")
GUEST_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@final
class Accelerator(Enum):
    """How the VM's processor is made; the value is the word that people read."""

    KVM = "KVM"
    EMULATION = "emulation"


@final
@dataclass(frozen=True, slots=True)
class Machine:
    """The VM to boot, where one is needed."""

    cpus: int = 2
    memory_mib: int = 2048
    icount: bool = False
    """Count instructions instead of time (1 ns each): guest CPU times do not depend on the load of
    the host. Needs one CPU and emulation; the guest's wall clock means nothing then."""
    timeout: float = 0.0
    """Seconds that the command may take once the VM is up; 0 for no limit."""


class BootError(Exception):
    """The VM did not come up; the text says what was seen."""


def _terminal() -> tuple[int, int] | None:
    """Return rows and columns where both our streams are one terminal."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        return None
    size = fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8))
    rows, columns, _, _ = struct.unpack("HHHH", size)
    return rows or 24, columns or 80


def _one_stream() -> bool:
    """Return whether our stdout and stderr lead to the same place."""
    out, err = os.fstat(1), os.fstat(2)
    return (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)


def _environment(accelerator: Accelerator) -> dict[str, str]:
    chosen = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES)
    }
    fixed = {"PATH": GUEST_PATH, "HOME": "/root", "USER": "root", VM_VARIABLE: accelerator.value}
    return chosen | fixed


@final
class Vm:
    """One VM: a context manager that leaves no process and no file."""

    def __init__(self, vng: str, image: Path, machine: Machine, accelerator: Accelerator) -> None:
        self._machine = machine
        self._accelerator = accelerator
        self._folder = Path(tempfile.mkdtemp(prefix=f"{WORK_PREFIX}{os.getpid()}-"))
        self._log = self._folder / "console.log"
        self._listener = socket.socket(socket.AF_UNIX)
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._console = threading.Thread(target=self._keep_console, daemon=True)
        self._command = self._vng_command(vng, image)

    def _vng_command(self, vng: str, image: Path) -> list[str]:
        agent = [os.path.realpath(sys.executable), "-I", "-S", guest.__file__]
        port = str(self._folder / "port")
        qemu = [
            f"-chardev socket,id=lab,path={port}",
            "-device virtio-serial-pci,id=labserial",
            f"-device virtserialport,bus=labserial.0,chardev=lab,name={guest.PORT}",
            "-fsdev local,id=labroot,path=/,security_model=none,readonly=on,multidevs=remap",
            f"-device virtio-9p-pci,fsdev=labroot,mount_tag={guest.ROOT_TAG}",
        ]
        if self._machine.icount:
            qemu.append("-icount shift=0,sleep=off")
        command = [
            vng, "--verbose", "--force-9p", "--disable-monitor", "--user", "root",
            "--run", str(image), "--cpus", str(1 if self._machine.icount else self._machine.cpus),
            "--memory", f"{self._machine.memory_mib}M", "--cwd", "/",
            f"--qemu-opts={' '.join(qemu)}", "--append", KERNEL_OPTIONS,
            "--exec", shlex.join(agent),
        ]  # fmt: skip
        if self._accelerator is Accelerator.EMULATION:
            command.append("--disable-kvm")
        return command

    def __enter__(self) -> "Vm":
        try:
            self._listener.bind(str(self._folder / "port"))
            self._listener.listen(1)
            # vng finds its own other half by name
            path = f"{Path(self._command[0]).parent}:{os.environ.get('PATH', os.defpath)}"
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"TMPDIR": str(self._folder), "PATH": path},
            )
            self._console.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clean_up()

    def _clean_up(self) -> None:
        if self._process is not None:
            # The whole session: vng, what it starts, and qemu. Nothing in there is worth a goodbye.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._console.join(5)
        if self._sock is not None:
            self._sock.close()
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_console(self) -> None:
        """Write what qemu and the kernel's console say to the log, from a pipe.

        A pipe, since qemu opens the log once for each device and would truncate a file each time.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        with self._log.open("wb", buffering=0) as log:
            while data := os.read(self._process.stdout.fileno(), guest.READ_SIZE):
                log.write(data)

    def keep_console(self) -> str:
        """Keep the console's log beyond this VM's life, and return its last lines."""
        with contextlib.suppress(OSError):  # a checkout that is not ours to write to
            CACHE.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._log, CONSOLE_LOG)
        text = self._log.read_text(errors="replace")
        return "\n".join(f"  | {line.rstrip()}" for line in text.splitlines()[-CONSOLE_TAIL:])

    def wait_until_up(self) -> None:
        """Wait until the guest has said hello; raise :class:`BootError` where it does not."""
        kvm = self._accelerator is Accelerator.KVM
        deadline = time.monotonic() + (KVM_DEADLINE if kvm else BOOT_DEADLINE)
        self._wait_for(self._listener, deadline)
        self._sock = self._listener.accept()[0]
        self._wait_for(self._sock, deadline)
        kind, _ = self._receive()
        if kind is not guest.Kind.HELLO:
            raise BootError("the VM stopped before it was up")

    def run(self, argv: Sequence[str]) -> int:
        """Run the command in this folder and return its exit status; its output goes to ours."""
        assert self._sock is not None
        order = {
            "argv": list(argv),
            "cwd": str(Path.cwd()),
            "env": _environment(self._accelerator),
            "terminal": _terminal(),
            "one_stream": _one_stream(),
        }
        self._sock.sendall(guest.pack(guest.Kind.ORDER, json.dumps(order).encode()))
        limit = self._machine.timeout
        deadline = time.monotonic() + limit if limit else None
        while True:
            if deadline is not None and not self._readable(deadline - time.monotonic()):
                print(f"lab: the VM is stopped: the command took longer than {limit:g} s",
                      file=sys.stderr, flush=True)  # fmt: skip
                return TIMED_OUT
            match self._receive():
                case guest.Kind.STDOUT, data:
                    guest.write_all(1, data)
                case guest.Kind.STDERR, data:
                    guest.write_all(2, data)
                case guest.Kind.EXIT, data:
                    return data[0]
                case _:
                    raise OperatorError(
                        f"the VM died while the command ran\n{self.keep_console()}",
                        status=ExitStatus.KERNEL,
                        hint=f"the console's log is {CONSOLE_LOG}",
                    )

    def _wait_for(self, sock: socket.socket, deadline: float) -> None:
        """Wait until *sock* has something to read."""
        assert self._process is not None
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while not poll.poll(200):
            if self._process.poll() is not None:
                raise BootError(f"vng ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise BootError(f"the VM was not up in time under {self._accelerator.value}")

    def _readable(self, seconds: float) -> bool:
        assert self._sock is not None
        return bool(select.select([self._sock], [], [], max(0.0, seconds))[0])

    def _receive(self) -> tuple[guest.Kind | None, bytes]:
        """Return the next frame; kind ``None`` where the VM is gone."""
        assert self._sock is not None
        descriptor = self._sock.fileno()
        try:
            header = guest.read_exactly(descriptor, guest.HEADER.size)
            kind, size = guest.HEADER.unpack(header)
            return guest.Kind(kind), guest.read_exactly(descriptor, size)
        except (EOFError, ConnectionError):
            return None, b""
