"""Our checks beside keepalived's, on the same servers at the same time, each with IPVS of its own.

Whenever a server goes bad or becomes well, both say so within one interval of one another, that is
from one check to the next: keepalived counts delay_loop from a check's end, so that a check which
times out comes round that much later. Its HTTP_GET asks for everything once more before a server is
up again, unless ``fast_recovery`` is set.
"""

import asyncio
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import pytest
from scapy.layers.dns import DNS
from support.waiting import wait_until

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.netns import (
    FOLDER,
    Namespace,
    delete,
    inside,
    laboratory_prefix,
    run_ip,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(900),
]

INTERVAL: Final = 6.0
TIMEOUT: Final = 2
SLACK: Final = 0.5
"""Seconds more, as an emulated machine hears late of what a daemon says."""
LIMIT: Final = 90.0
ROUNDS: Final = 2
KINDS: Final = {
    "TCP_CHECK": (8001, ""),
    "HTTP_GET": (8002, "url {\n path /\n status_code 200\n }\n fast_recovery"),
    "SMTP_CHECK": (8003, ""),
    "DNS_CHECK": (8004, "type A\n name www.example.com"),
    "UDP_CHECK": (8005, "require_reply"),
    "PING_CHECK": (8006, ""),
    "MISC_CHECK": (8007, ""),
}
SILENT: Final = {"UDP_CHECK", "PING_CHECK"}
"""Who does not answer at all while it is bad."""


def address(kind: str) -> str:
    return f"10.9.9.{list(KINDS).index(kind) + 1}"


def configuration(well: Path) -> str:
    """The same file for both."""
    servers = []
    for kind, (port, more) in KINDS.items():
        limit = "misc_timeout" if kind == "MISC_CHECK" else "connect_timeout"
        script = f'misc_path "/usr/bin/test -e {well}"' if kind == "MISC_CHECK" else ""
        servers.append(
            f"real_server {address(kind)} {port} {{\n weight 1\n {kind} {{\n {more}\n {script}\n"
            f" {limit} {TIMEOUT}\n retry 1\n delay_before_retry 1\n warmup 0\n }}\n}}\n"
        )
    # The group of who may ping is there already.
    return (
        "global_defs {\n router_id a\n}\n"
        f"virtual_server 192.0.2.1 80 {{\n delay_loop {INTERVAL:g}\n lb_algo rr\n lb_kind NAT\n"
        f" protocol TCP\n {''.join(servers)}}}\n"
    )


@final
class Farm:
    """All real servers, which are well or bad together; they run in threads of this process."""

    def __init__(self, space: Namespace, well: Path) -> None:
        self._space = space
        self._well = well
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._tcp: asyncio.Server | None = None
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[socket.socket] = []
        self.is_well = False
        self._do(self._open())
        self.turn(well=True)

    def close(self) -> None:
        """End the servers."""
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def turn(self, *, well: bool) -> None:
        """Let all be well, or bad, from now on."""
        self.is_well = well
        self._do(self._turn_tcp(well=well))
        if well:
            self._well.touch()
        else:
            self._well.unlink()
        what = "add" if well else "del"
        self._space.ip(f"addr {what} {address('PING_CHECK')}/32 dev lo")

    def _do(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _listen(self, kind: str, how: socket.SocketKind) -> socket.socket:
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, how)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind((address(kind), KINDS[kind][0]))
            return sock

        return inside(self._space.name, make)

    async def _open(self) -> None:
        stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
        for kind, serve in (("HTTP_GET", self._http), ("SMTP_CHECK", self._smtp)):
            server = await asyncio.start_server(serve, sock=self._listen(kind, stream))
            self._servers.append(server)
        for kind in ("DNS_CHECK", "UDP_CHECK"):
            sock = self._listen(kind, datagram)
            self._datagrams.append(sock)
            self._loop.add_reader(sock, self._datagram, kind, sock)

    async def _shut(self) -> None:
        for server in (*self._servers, *([self._tcp] if self._tcp else [])):
            server.close()
        for sock in self._datagrams:
            self._loop.remove_reader(sock)
            sock.close()
        await asyncio.sleep(0)  # for connections that are being closed

    async def _turn_tcp(self, *, well: bool) -> None:
        if well:
            sock = self._listen("TCP_CHECK", socket.SOCK_STREAM)
            self._tcp = await asyncio.start_server(lambda _, writer: writer.close(), sock=sock)
        elif self._tcp is not None:
            self._tcp.close()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = b"200 OK" if self.is_well else b"503 Busy"
        writer.write(b"HTTP/1.0 %s\r\nContent-Length: 0\r\n\r\n" % status)
        writer.close()

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n" if self.is_well else b"554 no service\r\n")
        while line := await reader.readline():
            writer.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 mail\r\n")
        writer.close()

    def _datagram(self, kind: str, sock: socket.socket) -> None:
        data, peer = sock.recvfrom(4096)
        if kind == "DNS_CHECK":
            asked = DNS(data)
            code = 0 if self.is_well else 2
            sock.sendto(bytes(DNS(id=asked.id, qr=1, rcode=code, qd=asked.qd)), peer)
        elif self.is_well:
            sock.sendto(data, peer)


@final
@dataclass
class Heard:
    """When which real server went (down) or came (up), by what a daemon says."""

    times: list[tuple[str, str, float]] = field(default_factory=list)

    def of(self, what: str, since: float) -> dict[str, float]:
        """Return the first time of each kind of server since a mark."""
        found: dict[str, float] = {}
        for host, happened, at in list(self.times):
            if happened == what and at >= since:
                kind = list(KINDS)[int(host.rpartition(".")[2]) - 1]
                found.setdefault(kind, at)
        return found


@contextmanager
def keepalived(space: Namespace, folder: Path, file: Path) -> Iterator[Heard]:
    """Run keepalived; note its lines as they come."""
    heard = Heard()
    words = ["keepalived", "-n", "-C", "-l", "-f", str(file), "-p", str(folder / "k.pid"),
             "-c", str(folder / "c.pid")]  # fmt: skip
    process = space.popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"(Removing|Adding) service \[([\d.]+)\]", line)
            if found is not None:
                what = "down" if found[1] == "Removing" else "up"
                heard.times.append((found[2], what, time.monotonic()))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield heard
    finally:
        process.terminate()
        process.wait(30)
        reader.join(10)


def ours(daemon: Daemon, what: str, since: float) -> dict[str, float]:
    """Return the same of our daemon."""
    heard = Heard(
        [
            (str(told.fields["real_server"]).rpartition(":")[0], what, told.seen)
            for told in daemon.events(f"real_server_{what}", since=since)
        ]
    )
    return heard.of(what, since)


def differences(theirs: Heard, daemon: Daemon, what: str, since: float) -> dict[str, float]:
    """Return by how much later than keepalived we saw each kind, when both have seen them all."""

    def seen() -> list[dict[str, float]]:
        return [theirs.of(what, since), ours(daemon, what, since)]

    wait_until(
        lambda: all(times.keys() == KINDS.keys() for times in seen()),
        lambda: f"{what}: {seen()}",
        limit=LIMIT,
        pause=0.2,
    )
    their_times, our_times = seen()
    return {kind: our_times[kind] - at for kind, at in their_times.items()}


@pytest.fixture
def spaces() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """Two directors and the host of all servers, which both reach."""
    prefix = laboratory_prefix()
    names = [f"{prefix}-{role}" for role in ("ours", "theirs", "servers")]
    run_ip(batch=[f"netns add {name}" for name in names])
    mine, other, servers = (Namespace(name) for name in names)
    try:
        for number, space in ((1, mine), (2, other)):
            servers.ip(f"link add to{number} type veth peer name back netns {space.name}")
            servers.ip(f"addr add 10.{number}.0.1/24 dev to{number}", f"link set to{number} up")
            space.ip(
                "link set lo up", f"addr add 10.{number}.0.2/24 dev back", "link set back up",
                f"route add 10.9.9.0/24 via 10.{number}.0.1", "addr add 192.0.2.1/32 dev lo",
            )  # fmt: skip
        servers.ip("link set lo up")
        servers.ip(*(f"addr add {address(kind)}/32 dev lo" for kind in KINDS if "PING" not in kind))
        yield mine, other, servers
    finally:
        delete(names)
        for space in (mine, other, servers):
            space.reap()
        assert not any((FOLDER / name).exists() for name in names)


def test_both_see_the_same_at_the_same_time(
    spaces: tuple[Namespace, Namespace, Namespace], tmp_path: Path
) -> None:
    mine, other, servers = spaces
    file, well = tmp_path / "both.conf", tmp_path / "well"
    file.write_text(configuration(well))
    farm = Farm(servers, well)
    apart: list[tuple[str, str, float]] = []
    try:
        with (
            keepalived(other, tmp_path, file) as theirs,
            Daemon(mine, file, tmp_path / "run") as daemon,
        ):
            daemon.start()
            time.sleep(3 * INTERVAL)  # until both have asked all of them
            for turn in range(2 * ROUNDS):
                what = "up" if turn % 2 else "down"
                mark = time.monotonic()
                farm.turn(well=what == "up")
                for kind, seconds in differences(theirs, daemon, what, mark).items():
                    apart.append((kind, what, seconds))
                time.sleep(INTERVAL)
            for what in ("down", "up"):
                assert len(daemon.events(f"real_server_{what}")) == ROUNDS * len(KINDS)
    finally:
        farm.close()
    for kind, what, seconds in apart:
        sys.stdout.write(f"{kind:12} {what:5} ours after keepalived's: {seconds:+.2f} s\n")
    assert len(apart) == 2 * ROUNDS * len(KINDS)
    assert [
        (kind, what, seconds) for kind, what, seconds in apart
        if abs(seconds) > INTERVAL + SLACK + TIMEOUT * (what == "up" and kind in SILENT)
    ] == []  # fmt: skip
