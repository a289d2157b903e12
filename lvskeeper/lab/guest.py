"""The laboratory's hand inside the VM: prepares it, runs one command, sends all of it to the host.

It is started by path with the system's Python and imports the standard library only, because each
import costs in an emulated machine. The host's half is :mod:`lvskeeper.lab.vm`.

Why not the VM's own console: several writers share it, it has no end mark, and lines get lost under
load. A virtio-serial port of our own has flow control, so frames on it arrive whole and in order.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

PORT: Final = "lvskeeper.lab"
"""Name of the virtio-serial port."""
ROOT_TAG: Final = "lvskeeper.root"
"""9p mount tag of the host's root file system."""
HEADER: Final = struct.Struct(">BI")
"""Frame: kind, length of the payload."""
READ_SIZE: Final = 1 << 16
PORT_WAIT: Final = 60.0
"""Seconds that the port may take to appear."""
LAST_WORDS: Final = 1.0
"""Seconds that output may still come after the command has ended (from processes it left)."""

MS_RDONLY: Final = 1
MS_BIND: Final = 4096
MS_REC: Final = 16384


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 0
    """Guest to host: the VM is up; payload: kernel release."""
    ORDER = 1
    """Host to guest: the command, as JSON."""
    STDOUT = 2
    STDERR = 3
    EXIT = 4
    """Guest to host: exit status, one byte."""


def pack(kind: Kind, payload: bytes) -> bytes:
    """Return one frame."""
    return HEADER.pack(kind, len(payload)) + payload


def read_exactly(descriptor: int, size: int) -> bytes:
    """Read *size* bytes; raise ``EOFError`` where the other side is gone."""
    parts = []
    while size:
        part = os.read(descriptor, min(size, READ_SIZE))
        if not part:
            raise EOFError("the host is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data* to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def open_port() -> int:
    """Open the virtio-serial port, which the kernel may still be about to make."""
    deadline = time.monotonic() + PORT_WAIT
    while time.monotonic() < deadline:
        for name in Path("/sys/class/virtio-ports").glob("*/name"):
            if name.read_text().strip() == PORT:
                with contextlib.suppress(OSError):
                    return os.open(f"/dev/{name.parent.name}", os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.05)
    raise TimeoutError(f"no virtio-serial port named {PORT}")


def attach(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount as mount(8) would; raise ``OSError`` where it fails."""
    target.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (source.encode(), bytes(target), kind.encode(), flags, options.encode())
    if libc.mount(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def make_root() -> Path:
    """Return a writable view of the host's file system that caches, with its own /run.

    The VM's root is a 9p mount without a cache, where every program start reads its libraries over
    again. The host's files do not change in a way that matters during a run, so this mount of the
    same files may cache all it likes (``cache=loose``). Writes go to memory and vanish.
    """
    base = Path("/run/lvskeeper-lab")
    lower, upper, work, root = (base / name for name in ("lower", "upper", "work", "root"))
    options = "trans=virtio,version=9p2000.L,access=any,msize=512000,cache=loose"
    attach(ROOT_TAG, lower, "9p", MS_RDONLY, options)
    upper.mkdir()
    work.mkdir()
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    attach("lvskeeper-lab", root, "overlay", 0, layers)
    attach("proc", root / "proc", "proc")
    attach("/sys", root / "sys", "", MS_BIND | MS_REC)
    attach("/dev", root / "dev", "", MS_BIND | MS_REC)
    attach("run", root / "run", "tmpfs", 0, "mode=755")
    release = os.uname().release
    if not (root / "lib/modules" / release).is_dir():
        attach("/lib/modules", root / "lib/modules", "", MS_BIND | MS_REC)
    return root


def open_streams(order: Mapping[str, Any]) -> tuple[dict[int, Kind], int, int]:
    """Return (our ends by kind, the command's stdout, the command's stderr).

    A terminal on the host becomes a terminal here; one pipe serves both streams where the host
    would mix them anyway, so that their order is kept.
    """
    if order["terminal"]:
        ours, theirs = os.openpty()
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        rows, columns = order["terminal"]
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        return {ours: Kind.STDOUT}, theirs, theirs
    ours, theirs = os.pipe()
    if order["one_stream"]:
        return {ours: Kind.STDOUT}, theirs, theirs
    ours_too, theirs_too = os.pipe()
    return {ours: Kind.STDOUT, ours_too: Kind.STDERR}, theirs, theirs_too


def pump(port: int, streams: dict[int, Kind], child: subprocess.Popen[bytes]) -> None:
    """Carry the output until the command has ended and its output with it."""
    poll = select.poll()
    ended = os.pidfd_open(child.pid)
    for descriptor in (ended, *streams):
        poll.register(descriptor, select.POLLIN)
    poll.register(port, 0)
    deadline = None
    while streams and (deadline is None or time.monotonic() < deadline):
        for descriptor, event in poll.poll(None if deadline is None else 50):
            if descriptor == port and event & (select.POLLHUP | select.POLLERR):
                raise EOFError("the host is gone")
            if descriptor == ended:
                poll.unregister(ended)
                deadline = time.monotonic() + LAST_WORDS
            elif kind := streams.get(descriptor):
                try:
                    data = os.read(descriptor, READ_SIZE)
                except OSError:  # a pty whose other side is closed
                    data = b""
                if data:
                    write_all(port, pack(kind, data))
                else:
                    poll.unregister(descriptor)
                    del streams[descriptor]


def run(port: int, order: Mapping[str, Any], root: Path) -> int:
    """Run the command that the host has ordered; return its exit status."""
    streams, out, err = open_streams(order)

    def enter() -> None:
        os.chroot(root)
        os.chdir(order["cwd"])

    try:
        child = subprocess.Popen(
            order["argv"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509 - no threads here
        )
    except (OSError, subprocess.SubprocessError) as error:
        write_all(port, pack(Kind.STDERR, f"lab: {order['argv'][0]}: {error}\n".encode()))
        return 127
    os.close(out)
    if err != out:
        os.close(err)
    pump(port, streams, child)
    status = child.wait()
    return status if status >= 0 else 128 - status


def main() -> None:
    """Serve the host's one order, then stop the machine."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        port = open_port()
        root = make_root()
        subprocess.run(["modprobe", "ip_vs"], check=False)
        write_all(port, pack(Kind.HELLO, os.uname().release.encode()))
        kind, size = HEADER.unpack(read_exactly(port, HEADER.size))
        assert kind == Kind.ORDER
        status = run(port, json.loads(read_exactly(port, size)), root)
        write_all(port, pack(Kind.EXIT, bytes([status & 0xFF])))
        # The host stops the machine as soon as it has read the status; this wait is for that.
        time.sleep(10)
    except EOFError:
        print("lvskeeper-lab: the host is gone", file=sys.stderr)
    finally:
        Path("/proc/sysrq-trigger").write_text("o")


if __name__ == "__main__":
    main()
