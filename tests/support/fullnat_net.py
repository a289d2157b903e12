"""A client, a director and a real server in network namespaces, with no way back to the client.

client 192.0.2.10 - 192.0.2.1 director 10.0.0.1 - 10.0.0.2 server (and the same with IPv6). VIPs
stand on the director's loopback, LIPs on its server-side device. All processes and sockets are of
this process, which steps into a namespace for the moment of making them.
"""

import contextlib
import ctypes
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import pytest

CLIENT, DIRECTOR, SERVER = "client", "director", "server"
CLIENT4 = "192.0.2.10"
VIP4, VIP4_OTHER = "198.51.100.1", "198.51.100.2"
VIP4_ANY, VIP4_MARKED = "198.51.100.3", "198.51.100.4"
MARK = 7
VIP6 = "2001:db8:f::1"
LIPS4: Final = tuple(f"10.0.0.{number}" for number in range(10, 14))
OTHER_LIP4: Final = "10.0.0.20"
LIPS6: Final = ("fd00::10", "fd00::11")
SERVER4, SERVER6 = "10.0.0.2", "fd00::2"
VPORT, PORT = 80, 8080
FRONT: Final = ("192.0.2.1/24", "2001:db8:c::1/64")
BACK: Final = ("10.0.0.1/24", "fd00::1/64")

RARELY_ON_IPVS: Final = pytest.mark.parametrize(
    "network",
    ["stand-in", pytest.param("ipvs", marks=[pytest.mark.ipvs, pytest.mark.long])],
    indirect=True,
)
"""For tests of what IPVS has little part in: an ordinary run has them with the stand-in alone."""

_LIBC = ctypes.CDLL(None, use_errno=True)

# What the tests need beside our table: a mark on what goes to one of the VIPs.
MARKING = f"""
table inet marking {{
  chain pre {{ type filter hook prerouting priority mangle;
    ip daddr {VIP4_MARKED} meta mark set {MARK}
  }}
}}
"""

# What IPVS does (translation of the destination), for kernels without.
STAND_IN = f"""
table inet standin {{
  chain pre {{ type nat hook prerouting priority dstnat;
    meta l4proto {{ tcp, udp }} ip daddr {{ {VIP4}, {VIP4_OTHER} }} th dport {VPORT} \\
      dnat ip to {SERVER4}:{PORT}
    meta l4proto {{ tcp, udp }} ip6 daddr {VIP6} th dport {VPORT} dnat ip6 to [{SERVER6}]:{PORT}
    meta l4proto tcp ip daddr {{ {VIP4_ANY}, {VIP4_MARKED} }} dnat ip to {SERVER4}
  }}
}}
"""


def run(command: str, *, data: str = "", check: bool = True) -> str:
    """Run a shell command and return its output."""
    done = subprocess.run(
        command, shell=True, input=data, text=True, check=False, capture_output=True, timeout=60
    )
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stderr or done.stdout}")
    return done.stdout


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    """Be in the namespace *name* (of ``ip netns``) with this thread."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(back)
        os.close(there)
        os.close(back)


@contextlib.contextmanager
def empty_namespace() -> Iterator[None]:
    """Be in a new namespace for a while."""
    name = f"lk{os.getpid()}-empty"
    run(f"ip netns add {name}")
    try:
        with namespace(name):
            run("ip link set lo up")
            yield
    finally:
        run(f"ip netns del {name}")


def _peer_text(peer: tuple[str, int]) -> bytes:
    return f"{peer[0]} {peer[1]}\n".encode()


class _TcpHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.rfile.readline():
                self.wfile.write(_peer_text(self.client_address))


class _UdpHandler(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(_peer_text(self.client_address))


class _Tcp4(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class _Tcp6(_Tcp4):
    address_family = socket.AF_INET6


class _Udp4(socketserver.UDPServer):
    pass


class _Udp6(_Udp4):
    address_family = socket.AF_INET6


class Connection:
    """A connection (or UDP socket) to a VIP whose server answers each line with its peer."""

    def __init__(self, endpoint: socket.socket) -> None:
        self._socket = endpoint

    def ask(self) -> str:
        """Return the address that the server sees."""
        self._socket.sendall(b"who\n")
        return self.answer()

    def peer(self) -> tuple[str, int]:
        """Return the address and port that the server sees."""
        self._socket.sendall(b"who\n")
        address, port = self._socket.recv(100).decode().split()
        return address, int(port)

    def stalls(self) -> bool:
        """Send a line, and return whether no answer comes for half a second."""
        self._socket.settimeout(0.5)
        try:
            self.ask()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(5)
        return False

    def answer(self) -> str:
        """Return the answer to a line that was sent before."""
        return self._socket.recv(100).decode().split()[0]

    def close(self) -> None:
        """Close it now."""
        self._socket.close()


class Network:
    """The three namespaces while they stand."""

    def __init__(self) -> None:
        self._prefix = f"lk{os.getpid()}"
        self._stack = contextlib.ExitStack()

    def name(self, who: str) -> str:
        return f"{self._prefix}-{who}"

    def inside(self, who: str) -> contextlib.AbstractContextManager[None]:
        return namespace(self.name(who))

    def connect(
        self, vip: str, *, udp: bool = False, port: int = VPORT, patience: float = 5
    ) -> Connection:
        """Open a connection from the client; it is closed at the end if not before."""
        family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        with self.inside(CLIENT):
            endpoint = self._stack.enter_context(socket.socket(family, kind))
        endpoint.settimeout(patience)
        endpoint.connect((vip, port))
        return Connection(endpoint)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        for who in (CLIENT, DIRECTOR, SERVER):
            run(f"ip netns add {self.name(who)}")
            self._stack.callback(run, f"ip netns del {self.name(who)}")
            run(f"ip -n {self.name(who)} link set lo up")
        director = self.name(DIRECTOR)
        for who, device, ours, theirs in (
            (CLIENT, "front", FRONT, (f"{CLIENT4}/24", "2001:db8:c::10/64")),
            (SERVER, "back", BACK, (f"{SERVER4}/24", f"{SERVER6}/64")),
        ):
            peer = self.name(who)
            run(f"ip -n {director} link add {device} type veth peer name eth0 netns {peer}")
            for name, link, addresses in ((director, device, ours), (peer, "eth0", theirs)):
                for address in addresses:
                    nodad = "nodad" if ":" in address else ""
                    run(f"ip -n {name} addr add {address} dev {link} {nodad}")
                run(f"ip -n {name} link set {link} up")
        run(f"ip -n {self.name(CLIENT)} route add default via 192.0.2.1")
        run(f"ip -n {self.name(CLIENT)} -6 route add default via 2001:db8:c::1")
        for vip in (VIP4, VIP4_OTHER, VIP4_ANY, VIP4_MARKED, VIP6):
            run(f"ip -n {director} addr add {vip} dev lo")
        for lip in (*LIPS4, OTHER_LIP4, *LIPS6):
            run(f"ip -n {director} addr add {lip} dev back {'nodad' if ':' in lip else ''}")
        with self.inside(DIRECTOR):
            for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", name).write_text("1", encoding="ascii")
        self._serve()

    def _serve(self) -> None:
        servers: list[socketserver.BaseServer] = []
        with self.inside(SERVER):
            servers.append(_Tcp4((SERVER4, PORT), _TcpHandler))
            servers.append(_Tcp6((SERVER6, PORT), _TcpHandler))
            servers.append(_Udp4((SERVER4, PORT), _UdpHandler))
            servers.append(_Udp6((SERVER6, PORT), _UdpHandler))
        for server in servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            self._stack.callback(thread.join)
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)


@contextlib.contextmanager
def translating(way: str, stand_in: str, program_ipvs: Callable[[], None]) -> Iterator[Network]:
    """Yield the network whose director translates destinations: by ``ipvs``, or by *stand_in*."""
    if way == "ipvs":
        run("modprobe -q ip_vs", check=False)
    with Network() as network:
        with network.inside(DIRECTOR):
            if way == "ipvs":
                program_ipvs()
            else:
                run("nft -f -", data=stand_in)
        yield network
