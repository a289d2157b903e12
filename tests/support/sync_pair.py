"""Two directors with the same VIPs and LIPs, a sync link between them, a client and a server.

client 192.0.2.10 - A 192.0.2.1, B 192.0.2.3 - server 10.0.0.2, and the same with IPv6. VIPs and
LIPs stand on the loopback of both; who serves is decided by the next hops that the client and the
server have. The sync link runs over a bridge of its own, so that the death of one end leaves the
other up. IPVS's part is plain nft, as this kernel may have none; SYN cookies and LIPs are our own
ruleset.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Self

from support.fullnat_net import namespace, run

from lvskeeper.fullnat.hold import Hold
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import Ruleset, Source, render
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import parse_address

CLIENT, SERVER, WIRE = "client", "server", "wire"
VIP, CLIENT_ADDRESS, SERVER_ADDRESS = "198.51.100.1", "192.0.2.10", "10.0.0.2"
VIP6, CLIENT_ADDRESS6, SERVER_ADDRESS6 = "2001:db8:f::1", "2001:db8:c::10", "fd00::2"
LIPS: Final = ("10.9.0.10", "10.9.0.11")
LIPS6: Final = ("fd09::10", "fd09::11")
FRONT: Final = {"a": "192.0.2.1", "b": "192.0.2.3"}
BACK: Final = {"a": "10.0.0.1", "b": "10.0.0.3"}
FRONT6: Final = {"a": "2001:db8:c::1", "b": "2001:db8:c::3"}
BACK6: Final = {"a": "fd00::1", "b": "fd00::3"}
SYNC: Final = {"a": "10.255.0.1", "b": "10.255.0.2"}
SYNC_DEVICE: Final = "sync"
ECHO, GREETING, DOWNLOAD, UPLOAD = 80, 81, 82, 83
PROXIED: Final = 100
"""Added to a port: the same service behind SYN cookies."""
REAL: Final = 8000
PORTS: Final = tuple(
    kind + proxied for proxied in (0, PROXIED) for kind in (ECHO, GREETING, DOWNLOAD, UPLOAD)
)
BLOCK: Final = 1000
PACE: Final = 0.05
PATIENCE: Final = 10.0
"""Seconds for a packet to come through after a take-over: TCP doubles its waits meanwhile."""

_ONLY_SYN: Final = "tcp flags & (fin | syn | rst | ack) == syn"
_TCP: Final = "".join(
    f"ip daddr {VIP} tcp dport {port} {_ONLY_SYN} dnat ip to {SERVER_ADDRESS}:{port + REAL}; "
    f"ip6 daddr {VIP6} tcp dport {port} {_ONLY_SYN} dnat ip6 to [{SERVER_ADDRESS6}]:{port + REAL}; "
    for port in PORTS
)
_RULES: Final = f"{_TCP} ip daddr {VIP} udp dport {ECHO} dnat ip to {SERVER_ADDRESS}:{ECHO + REAL};"
STAND_IN: Final = f"""
table inet standin {{
  chain pre {{ type nat hook prerouting priority dstnat; {_RULES} }}
  chain out {{ type nat hook output priority -100; {_RULES} }}
}}
"""
LOSS: Final = """
table inet loss {
  counter lost { }
  chain in { type filter hook input priority raw;
    iifname "sync" udp dport 3780 numgen inc mod 100 < 1 counter name lost drop
  }
}
"""
"""One packet in a hundred; not every kernel has netem."""


def _key(port: int, protocol: Protocol = Protocol.TCP, vip: str = VIP) -> ServiceKey:
    address = parse_address(vip)
    return ServiceKey(Family.of(address), protocol, address, port)


def ruleset() -> Ruleset:
    """Return what both directors have."""
    keys = [_key(port, vip=vip) for port in PORTS for vip in (VIP, VIP6)]
    services = dict.fromkeys((*keys, _key(ECHO, Protocol.UDP)), Source("web"))
    proxied = {key: SynProxy(1440) for key in keys if key.port >= PROXIED}
    lips = [parse_address(lip) for lip in (*LIPS, *LIPS6)]
    hold = Hold(frozenset(map(parse_address, (VIP, VIP6))), frozenset(lips))
    return Ruleset((Pool.of("web", lips),), services, Cookies(proxied), hold=hold)


class Pair:
    """The five namespaces while they stand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prefix = f"lk{os.getpid()}"
        self._stack = contextlib.ExitStack()
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def name(self, who: str) -> str:
        return f"{self._prefix}-{who}"

    def run(self, who: str, command: str, *, data: str = "", check: bool = True) -> str:
        """Run a shell command in a namespace."""
        with namespace(self.name(who)):
            return run(command, data=data, check=check)

    def inside(self, who: str) -> contextlib.AbstractContextManager[None]:
        return namespace(self.name(who))

    def __enter__(self) -> Self:
        try:
            self._bridge(CLIENT, f"{CLIENT_ADDRESS}/24", f"{CLIENT_ADDRESS6}/64")
            self._bridge(SERVER, f"{SERVER_ADDRESS}/24", f"{SERVER_ADDRESS6}/64")
            self._bridge(WIRE)
            for side in ("a", "b"):
                self.make(side)
            self._stack.callback(self._remove_directors)
            self.serve_by("a")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _bridge(self, who: str, *addresses: str) -> None:
        name = self.name(who)
        run(f"ip netns add {name}")
        self._stack.callback(run, f"ip netns del {name}", check=False)
        run(f"ip -n {name} link set lo up; ip -n {name} link add br0 type bridge mcast_snooping 0")
        run(f"ip -n {name} link set br0 up")
        for address in addresses:
            run(f"ip -n {name} addr add {address} dev br0 {nodad(address)}")

    def make(self, side: str) -> None:
        """Make the director *side* anew, empty."""
        name = self.name(side)
        run(f"ip netns add {name}; ip -n {name} link set lo up")
        for device, peer, *addresses in (
            ("front", CLIENT, f"{FRONT[side]}/24", f"{FRONT6[side]}/64"),
            ("back", SERVER, f"{BACK[side]}/24", f"{BACK6[side]}/64"),
            (SYNC_DEVICE, WIRE, f"{SYNC[side]}/24"),
        ):
            there = self.name(peer)
            run(f"ip -n {name} link add {device} type veth peer name {device}-{side} netns {there}")
            run(f"ip -n {there} link set {device}-{side} master br0 up")
            for address in addresses:
                run(f"ip -n {name} addr add {address} dev {device} {nodad(address)}")
            run(f"ip -n {name} link set {device} up")
        for address in (VIP, *LIPS, VIP6, *LIPS6):
            run(f"ip -n {name} addr add {address} dev lo {nodad(address)}")
        forwarding = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
        self.run(side, f"sysctl -qw {forwarding} net.netfilter.nf_conntrack_tcp_loose=1")
        self.run(side, "nft -f -", data=render(ruleset()) + STAND_IN)

    def serve_by(self, side: str) -> None:
        """Let the client and the server send to the director *side*."""
        client, server = self.name(CLIENT), self.name(SERVER)
        run(f"ip -n {client} route replace 198.51.100.0/24 via {FRONT[side]}")
        run(f"ip -n {server} route replace 10.9.0.0/24 via {BACK[side]}")
        run(f"ip -n {client} -6 route replace 2001:db8:f::/64 via {FRONT6[side]}")
        run(f"ip -n {server} -6 route replace fd09::/64 via {BACK6[side]}")
        # A director made anew has other link addresses, which a real one would announce
        for name in (client, server):
            run(f"ip -n {name} neigh flush dev br0")

    def cut(self, side: str) -> None:
        """Take the director *side* off all its links, and kill its conntrackd."""
        for device in ("front", "back", SYNC_DEVICE):
            run(f"ip -n {self.name(side)} link set {device} down")
        self.kill(side)

    def replace(self, side: str) -> None:
        """Remove the director *side* and make it anew, as a machine that was started again."""
        self.kill(side)
        run(f"ip netns del {self.name(side)}")
        for device, peer in (("front", CLIENT), ("back", SERVER), (SYNC_DEVICE, WIRE)):
            run(f"ip -n {self.name(peer)} link del {device}-{side}", check=False)
        self.make(side)

    def start(self, side: str, config: str) -> None:
        """Start conntrackd of the director *side* and wait until it answers."""
        file = self.folder / f"{side}.conf"
        file.write_text(config)
        log = (self.folder / f"{side}.log").open("ab")
        with self.inside(side), log:
            command = ["conntrackd", "-C", str(file)]
            self.daemons[side] = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(100):
            if not self.run(side, f"conntrackd -C {file} -s >/dev/null || echo no", check=False):
                return
            if self.daemons[side].poll() is not None:
                break
        raise AssertionError((self.folder / f"{side}.log").read_text())

    def ask(self, side: str, option: str) -> str:
        """Ask conntrackd of the director *side*."""
        return self.run(side, f"conntrackd -C {self.folder / side}.conf {option}")

    def kill(self, side: str) -> None:
        """Kill conntrackd of the director *side* where it runs."""
        daemon = self.daemons.pop(side, None)
        if daemon:
            with contextlib.suppress(ProcessLookupError):
                daemon.send_signal(signal.SIGKILL)
            daemon.wait(5)
            # A killed conntrackd leaves its lock, and would not start again
            (self.folder / f"{side}.lock").unlink(missing_ok=True)

    def entries(self, side: str, filters: str = f"-d {VIP}") -> int:
        """Return how many conntrack entries the kernel of the director *side* has."""
        return len(self.run(side, f"conntrack -L {filters} 2>/dev/null").splitlines())

    def known(self, side: str) -> int:
        """Return how many connections to the VIPs its kernel has."""
        return self.entries(side) + self.entries(side, f"-f ipv6 -d {VIP6}")

    def _remove_directors(self) -> None:
        for side in ("a", "b"):
            self.kill(side)
            run(f"ip netns del {self.name(side)}", check=False)


def nodad(address: str) -> str:
    """Return the word that lets an IPv6 address be used at once."""
    return "nodad" if ":" in address else ""


def pattern(start: int, size: int) -> bytes:
    """Return the bytes *start* to *start* + *size* of every stream."""
    return bytes((start + index) % 251 for index in range(size))


class Servers:
    """The services of the server, in this event loop."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._greeted: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.uploaded: dict[bytes, int] = {}

    async def start(self) -> None:
        kinds = {ECHO: self._echo, GREETING: self._greet, DOWNLOAD: self._send, UPLOAD: self._take}
        with self._pair.inside(SERVER):
            for port in PORTS:
                listener = socket.create_server(
                    ("::", port + REAL), family=socket.AF_INET6, dualstack_ipv6=True, backlog=500
                )
                handler = kinds[port % PROXIED]
                self._servers.append(await asyncio.start_server(handler, sock=listener))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((SERVER_ADDRESS, ECHO + REAL))
        udp.setblocking(False)
        self._keep(self._answer(udp))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    def greet_again(self) -> None:
        """Let the server speak on every connection on which it speaks first."""
        for writer in self._greeted:
            writer.write(b"again\n")

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, udp: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with udp:
            while True:
                data, address = await loop.sock_recvfrom(udp, 100)
                await loop.sock_sendto(udp, data, address)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._greeted.append(writer)
        self._writers.append(writer)
        with contextlib.suppress(OSError):
            writer.write(b"hello\n")
            await reader.read()
        writer.close()

    async def _send(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        sent = 0
        with contextlib.suppress(OSError):
            while True:
                writer.write(pattern(sent, BLOCK))
                await writer.drain()
                sent += BLOCK
                await asyncio.sleep(PACE)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            name = await reader.readexactly(8)
            self.uploaded[name] = 0
            while data := await reader.read(65536):
                if data != pattern(self.uploaded[name], len(data)):
                    break
                self.uploaded[name] += len(data)
        writer.close()


class Flow:
    """One connection of the client, which can tell whether it still works."""

    def __init__(
        self, pair: Pair, servers: Servers, port: int, number: int, vip: str = VIP
    ) -> None:
        self.port, self._pair, self._servers, self._vip = port, pair, servers, vip
        self._name = b"%08d" % (port * 10000 + number + (5000 if vip == VIP6 else 0))
        self._got = 0
        self._pump: asyncio.Task[None] | None = None

    async def open(self) -> None:
        with self._pair.inside(CLIENT):
            endpoint = socket.socket(socket.AF_INET6 if ":" in self._vip else socket.AF_INET)
        endpoint.setblocking(False)
        await asyncio.get_running_loop().sock_connect(endpoint, (self._vip, self.port))
        self._reader, self._writer = await asyncio.open_connection(sock=endpoint)
        match self.port % PROXIED:
            case 80:
                assert await self._ping()
            case 81:
                assert await self._reader.readline() == b"hello\n"
            case 82:
                self._pump = asyncio.create_task(self._download())
            case _:
                self._writer.write(self._name)
                self._pump = asyncio.create_task(self._upload())

    async def close(self) -> None:
        if self._pump:
            self._pump.cancel()
        self._writer.transport.abort()

    async def alive(self) -> bool:
        """Return whether both sides still reach each other, within :data:`PATIENCE`."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                match self.port % PROXIED:
                    case 80:
                        return await self._ping()
                    case 81:
                        return await self._reader.readline() == b"again\n"
                    case _:
                        before = self._progress()
                        while self._progress() <= before + 2 * BLOCK:  # noqa: ASYNC110 - a poll
                            await asyncio.sleep(PACE)
                        return True
        return False

    def _progress(self) -> int:
        return self._got or self._servers.uploaded.get(self._name, 0)

    async def _ping(self) -> bool:
        self._writer.write(b"ping\n")
        return await self._reader.readline() == b"ping\n"

    async def _download(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._reader.read(65536):
                if data != pattern(self._got, len(data)):
                    return
                self._got += len(data)

    async def _upload(self) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while True:
                self._writer.write(pattern(sent, BLOCK))
                await self._writer.drain()
                sent += BLOCK
                await asyncio.sleep(PACE)


class Datagrams:
    """A UDP socket of the client whose server answers."""

    port = 0

    def __init__(self, pair: Pair) -> None:
        with pair.inside(CLIENT):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((VIP, ECHO))

    async def open(self) -> None:
        assert await self.alive()
        assert await self.alive()

    async def alive(self) -> bool:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError):
            for _ in range(3):
                await loop.sock_sendall(self._socket, b"ping")
                async with asyncio.timeout(1):
                    return await loop.sock_recv(self._socket, 100) == b"ping"
        return False

    async def close(self) -> None:
        self._socket.close()
