"""Two routers on a bridge, ours or keepalived's, and a capture of what they send."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, final

from support.fullnat_net import namespace

from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace

if TYPE_CHECKING:
    import subprocess

DEVICE: Final = "eth0"
BRIDGE: Final = "br0"
RT_PRIORITY: Final = 20
RT_LIMIT: Final = 1_000_000
"""Microseconds. With its default of 10,000 the kernel kills keepalived at the start of 255."""
PATIENCE: Final = 60.0
"""Seconds that anything may take."""

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_PACKET_IGNORE_OUTGOING: Final = 23
_TIMESPEC: Final = Struct("@qq")


@final
class Kind(Enum):
    """Whose router it is."""

    OURS = "ours"
    KEEPALIVED = "keepalived"


def config(priority: int, vrids: Sequence[int], interval: float) -> str:
    """Return a file that both read: version 3, one VIP each VRID, the VRRP process in SCHED_RR."""
    head = (
        f"global_defs {{\n vrrp_version 3\n vrrp_rt_priority {RT_PRIORITY}\n"
        f" vrrp_rlimit_rttime {RT_LIMIT}\n}}\n"
    )
    return head + "".join(
        f"vrrp_instance V{vrid} {{\n state BACKUP\n interface {DEVICE}\n"
        f" virtual_router_id {vrid}\n priority {priority}\n advert_int {interval:g}\n"
        f" virtual_ipaddress {{\n  10.9.0.{vrid}/32\n }}\n}}\n"
        for vrid in vrids
    )


@final
@dataclass(frozen=True, slots=True)
class Frame:
    """An advert, or a gratuitous ARP for the VIP of *vrid*; *at* is the kernel's time of day."""

    at: float
    vrid: int
    priority: int
    """-1 for a gratuitous ARP."""


@final
class Capture:
    """What comes in from one port of the bridge."""

    def __init__(self, host: Namespace, port: str) -> None:
        self.frames: Final[list[Frame]] = []
        self._done = threading.Event()
        with namespace(host.name):
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
            self._socket.bind((port, _ETH_P_ALL))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._done.is_set():
            select.select([self._socket], [], [], 0.1)
            # With the namespace its devices go.
            with contextlib.suppress(OSError):
                while True:
                    self._take(*self._socket.recvmsg(256, 64)[:2])

    def _take(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        kind, body = data[12:14], data[14:]
        if kind == b"\x08\x00" and body[9] == 112:
            start = (body[0] & 15) * 4
            vrid, priority = body[start + 1], body[start + 2]
        elif kind == b"\x08\x06" and body[14:18] == body[24:28]:
            vrid, priority = body[17], -1
        else:
            return
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
        self.frames.append(Frame(seconds + nanoseconds / 1e9, vrid, priority))

    def adverts(self, since: float = 0.0) -> list[Frame]:
        """Return the adverts that came after *since*."""
        return [frame for frame in self.frames[:] if frame.priority >= 0 and frame.at > since]

    def close(self) -> None:
        """End it; twice is harmless."""
        self._done.set()
        self._thread.join()
        self._socket.close()


@final
class Router:
    """A daemon in a namespace, which can be started again and again."""

    def __init__(self, kind: Kind, host: Namespace, folder: Path, text: str) -> None:
        self.kind: Final = kind
        self._host = host
        self._folder = folder
        folder.mkdir()
        self._file = folder / "router.conf"
        self._file.write_text(text)
        self.log: Final = folder / "log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run it, with a log of its own."""
        for left in self._folder.glob("*pid"):  # of a killed one, which may still be a zombie
            left.unlink()
        file, folder = str(self._file), self._folder
        if self.kind is Kind.OURS:
            argv = [sys.executable, "-m", "lvskeeper", "run", "-f", file,
                    "--run-dir", str(folder / "run"), "--log-format", "json"]  # fmt: skip
        else:
            argv = ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--use-file", file]
            argv += ["--pid", str(folder / "pid"), "--vrrp_pid", str(folder / "vrrp.pid")]
        with self.log.open("w") as log:
            self._process = self._host.popen(argv, stdout=log, stderr=log)

    @property
    def _running(self) -> "subprocess.Popen[str]":
        assert self._process is not None
        return self._process

    def tree(self) -> list[int]:
        """Return all its processes, parents first."""
        found = [self._running.pid]
        for parent in found:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, children.read_text().split())
        return found

    def speaker(self) -> int:
        """Return the process that does VRRP, the one in SCHED_RR; wait for it after a start."""
        wait_for(lambda: len(self._real_time()) == 1, f"{self.kind.value}: none in SCHED_RR", self)
        return self._real_time()[0]

    def _real_time(self) -> list[int]:
        found = []
        for pid in self.tree():
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(pid) & 0xFF == os.SCHED_RR:
                    found.append(pid)
        return found

    def kill(self) -> None:
        """End all processes at once: nobody sees another one die."""
        tree = self.tree()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        self._running.wait()

    def terminate(self) -> None:
        """Ask it to end in order."""
        self._running.terminate()

    def wait(self) -> None:
        """Wait for its end."""
        self._running.wait(PATIENCE)

    def took_over(self) -> int:
        """Return how often its log tells of an instance that became master."""
        text = self.log.read_text()
        if self.kind is Kind.KEEPALIVED:
            return text.count("Entering MASTER STATE")
        return sum('"new": "MASTER"' in line for line in text.splitlines())


@final
@dataclass
class Link:
    """Two routers on a bridge: *first* has the higher priority."""

    first: Router
    second: Router
    from_first: Capture
    from_second: Capture


@contextlib.contextmanager
def link(
    kinds: tuple[Kind, Kind], folder: Path, vrids: Sequence[int], interval: float
) -> Iterator[Link]:
    """Yield two routers that do not run yet."""
    prefix = netns.laboratory_prefix()
    hosts = [Namespace(f"{prefix}-{name}") for name in ("first", "second", "bridge")]
    bridge, captures = hosts[2], list[Capture]()
    ports = ("port1", "port2")
    try:
        netns.run_ip(batch=[f"netns add {host.name}" for host in hosts])
        netns.run_ip(batch=[
            f"link add {DEVICE} netns {host.name} type veth peer {port} netns {bridge.name}"
            for host, port in zip(hosts, ports, strict=False)
        ])  # fmt: skip
        bridge.ip(
            f"link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0",
            *(f"link set {port} master {BRIDGE} up" for port in ports),
            f"link set {BRIDGE} up",
        )
        routers = []
        for number, (host, kind) in enumerate(zip(hosts, kinds, strict=False), 1):
            host.ip(
                "link set lo up",
                f"link set {DEVICE} up",
                f"addr add 192.0.2.{number}/24 dev {DEVICE}",
            )
            place = folder / f"{number}-{kind.value}"
            routers.append(Router(kind, host, place, config(300 - 100 * number, vrids, interval)))
            captures.append(Capture(bridge, ports[number - 1]))
        yield Link(routers[0], routers[1], captures[0], captures[1])
    finally:
        netns.delete([host.name for host in hosts])
        for capture in captures:
            capture.close()
        for host in hosts:
            host.reap()


def wait_for(what: Callable[[], bool], complaint: str, *routers: Router) -> None:
    """Wait until *what* holds, or end the benchmark."""
    until = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > until:
            logs = "\n".join(router.log.read_text()[-2000:] for router in routers)
            raise TimeoutError(f"{complaint}\n{logs}")
        time.sleep(0.02)
