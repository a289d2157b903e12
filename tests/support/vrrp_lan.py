"""A link with our router, keepalived and a third host that watches: for tests with real peers."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any, Final, final

from support.fullnat_net import namespace
from support.vrrp_net import DEVICE, prepare_device

from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import Address, format_address
from lvskeeper.vrrp.validate import Received, received_ipv4, received_ipv6

BRIDGE: Final = "br0"
SECOND: Final = "eth1"
"""Device of the routers on their second link."""
OURS, THEIRS = "ours", "theirs"
"""The two routers, and the bridge's ports to them."""
PATIENCE: Final = 12.0
"""Seconds that anything may take."""

PROMPT: Final = """
global_defs {
  vrrp_rt_priority 20
  vrrp_rlimit_rttime 1000000
}
"""
"""For both routers: other work of the machine does not delay them, if the kernel grants it."""

_ETH_P_ALL: Final = 3
_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_ROOM: Final = 1 << 24
"""Bytes that may wait for our reader, which is not as prompt as both routers."""
_TIMESPEC: Final = Struct("@qq")
_DEAF: Final = (
    "table inet deaf { chain input { type filter hook input priority 0; "
    "meta l4proto { 51, 112 } drop; }; }"
)


@final
@dataclass(frozen=True)
class Announced:
    """A gratuitous ARP or an unsolicited NA: *address* is at *mac*."""

    address: Address
    mac: str


@final
@dataclass(frozen=True)
class Frame:
    """What came from the port *host*; *at* is the kernel's time of day."""

    at: float
    host: str
    what: Received | Announced
    data: bytes = b""
    """All of it."""


def _read(frame: bytes) -> Received | Announced | None:
    source, kind, body = frame[6:12].hex(":"), frame[12:14], frame[14:]
    if kind == b"\x08\x06" and body[14:18] == body[24:28]:
        return Announced(Address(body[14:18]), source)
    if kind == b"\x08\x00" and body[9] in {51, 112}:
        found = received_ipv4(body)
    elif kind == b"\x86\xdd" and body[6] == 112:
        found = received_ipv6(body[40:], Address(body[8:24]), Address(body[24:40]), body[7])
    elif kind == b"\x86\xdd" and body[6] == 58 and body[40] == 136 and body[24] == 0xFF:
        return Announced(Address(body[48:64]), source)
    else:
        return None
    assert isinstance(found, Received), found
    return found


@final
class Wire:
    """Everything that both routers send, as it reaches the bridge."""

    def __init__(self, host: Namespace) -> None:
        self.frames: Final[list[Frame]] = []
        self._done = threading.Event()
        self._idle = threading.Event()
        with namespace(host.name):
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._done.is_set():
            if not select.select([self._socket], [], [], 0.02)[0]:
                self._idle.set()
                continue
            data, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            if sender[0] not in {OURS, THEIRS} or sender[2] == socket.PACKET_OUTGOING:
                continue
            if what := _read(data):
                seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
                self.frames.append(Frame(seconds + nanoseconds / 1e9, sender[0], what, data))

    def settled(self) -> list[Frame]:
        """Return all frames so far, when there was a pause for longer than any is on its way."""
        self._idle.clear()
        assert self._idle.wait(PATIENCE), "there is no pause on the wire"
        return [*self.frames]

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()


@final
@dataclass
class Lan:
    """The namespaces; the third host is the bridge itself."""

    ours: Namespace
    theirs: Namespace
    third: Namespace
    wire: Wire
    macs: dict[str, str] = field(default_factory=dict)

    def holders(self, address: Address) -> list[str]:
        """Return which of the two routers have *address*."""
        text = format_address(address)
        found = []
        for name, host in ((OURS, self.ours), (THEIRS, self.theirs)):
            shown = json.loads(host.run(["ip", "-j", "address", "show"]).stdout)
            if any(info.get("local") == text for link in shown for info in link["addr_info"]):
                found.append(name)
        return found

    def get_to_know(self, address: Address) -> None:
        """Let the third host resolve *address*, as a client does."""
        family = socket.AF_INET6 if len(address) == 16 else socket.AF_INET
        with namespace(self.third.name), socket.socket(family, socket.SOCK_DGRAM) as client:
            there: Any = (format_address(address), 9)
            if len(address) == 16:
                there += (0, socket.if_nametoindex(BRIDGE))
            client.sendto(b"?", there)

    def neighbour(self, address: Address) -> str:
        """Return which router the third host sends packets for *address* to, or nothing."""
        shown = self.third.run(["ip", "-j", "neighbour", "show", "dev", BRIDGE]).stdout
        text = format_address(address)
        for entry in json.loads(shown):
            if entry["dst"] == text and "lladdr" in entry:
                return self.macs.get(entry["lladdr"]) or self._port(entry["lladdr"])
        return ""

    def _port(self, mac: str) -> str:
        """Return where the bridge sends frames for a virtual *mac*, or nothing."""
        shown = self.third.run(["bridge", "-j", "fdb", "show", "br", BRIDGE]).stdout
        for entry in json.loads(shown):
            if entry["mac"] == mac and entry.get("state") != "permanent":
                return str(entry["ifname"])
        return ""

    def deafen(self, host: Namespace) -> None:
        """Let *host* hear no adverts; what it sends gets through."""
        host.run(["nft", _DEAF])

    def heal(self, host: Namespace) -> None:
        """Undo :meth:`deafen`."""
        host.run(["nft", "delete table inet deaf"])


def _mac(host: Namespace) -> str:
    shown = json.loads(host.run(["ip", "-j", "link", "show", "dev", DEVICE]).stdout)
    return str(shown[0]["address"])


@contextlib.contextmanager
def lan(*, second_link: bool = False) -> Iterator[Lan]:
    """Yield two routers on a bridge, and if asked for on a *second link*, their devices eth1."""
    prefix = netns.laboratory_prefix()
    hosts = [Namespace(f"{prefix}-{name}") for name in ("a", "b", "c")]
    names = [host.name for host in hosts]
    ours, theirs, third = hosts
    wire = None
    try:
        netns.run_ip(batch=[f"netns add {name}" for name in names])
        netns.run_ip(batch=[
            f"link add {DEVICE} netns {name} type veth peer {port} netns {third.name}"
            for name, port in zip(names[:2], (OURS, THEIRS), strict=True)
        ])  # fmt: skip
        third.ip(
            "link set lo up",
            f"link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0",
            *(f"link set {port} master {BRIDGE} up" for port in (OURS, THEIRS)),
            f"link set {BRIDGE} up",
            f"addr add 192.0.2.3/24 dev {BRIDGE}",
            f"addr add 2001:db8::3/64 dev {BRIDGE} nodad",
        )
        for number, host in enumerate((ours, theirs), 1):
            prepare_device(host, number)
        ours.ip(f"addr add 192.0.2.11/24 dev {DEVICE}")
        if second_link:
            _link_again(ours, theirs, third)
        wire = Wire(third)
        made = Lan(ours, theirs, third, wire, {_mac(ours): OURS, _mac(theirs): THEIRS})
        wait_until(lambda: _forwards(third), "the bridge does not forward")
        yield made
    finally:
        if wire is not None:
            wire.close()
        netns.delete(names)
        for host in hosts:
            host.reap()


def _link_again(ours: Namespace, theirs: Namespace, third: Namespace) -> None:
    third.ip(f"link add {BRIDGE}b type bridge mcast_snooping 0 forward_delay 0")
    for number, (host, port) in enumerate(((ours, OURS), (theirs, THEIRS)), 1):
        third.ip(f"link add {port}b type veth peer {SECOND} netns {host.name}")
        third.ip(f"link set {port}b master {BRIDGE}b up")
        host.ip(f"link set {SECOND} up", f"addr add 198.51.100.{number}/24 dev {SECOND}")
    third.ip(f"link set {BRIDGE}b up")


def _forwards(third: Namespace) -> bool:
    shown = json.loads(third.run(["bridge", "-j", "link", "show"]).stdout)
    return {port["state"] for port in shown} == {"forwarding"}


def wait_until(what: Callable[[], bool], complaint: str | Callable[[], str]) -> None:
    """Wait until *what* holds, for ``PATIENCE`` seconds."""
    until = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > until:
            raise AssertionError(complaint if isinstance(complaint, str) else complaint())
        time.sleep(0.05)


@final
class Keepalived:
    """A keepalived in *host* that can be started again; each run has a log of its own."""

    def __init__(self, host: Namespace, folder: Path, instances: Sequence[str]) -> None:
        self._host = host
        self._folder = folder
        self._runs = 0
        (folder / "keepalived.conf").write_text("".join(instances))

    @property
    def _log(self) -> Path:
        return self._folder / f"keepalived-{self._runs}.log"

    def start(self) -> None:
        """Run it."""
        self._runs += 1
        with self._log.open("w") as log:
            self._process = self._host.popen(
                ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail",
                 "--use-file", str(self._folder / "keepalived.conf"),
                 "--pid", str(self._folder / "pid"),
                 "--vrrp_pid", str(self._folder / "vrrp_pid")],
                stdout=log, stderr=log,
            )  # fmt: skip

    def terminate(self) -> None:
        """End it in order."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End parent and child at once, with everything left where it is."""
        child = int((self._folder / "vrrp_pid").read_text())
        # The parent first: it would start another child
        self._process.send_signal(signal.SIGSTOP)
        os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait(PATIENCE)

    def entries(self, name: str) -> list[str]:
        """Return the states that instance *name* has entered in this run, in order."""
        begin = f"({name}) Entering "
        lines = [line for line in self.log().splitlines() if begin in line]
        return [line.split(begin)[1].split()[0] for line in lines]

    def log(self) -> str:
        """Return what it said in this run, nothing before the first."""
        return self._log.read_text() if self._runs else ""


HAS_KEEPALIVED: Final = shutil.which("keepalived") is not None
