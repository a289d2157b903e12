"""The laboratory's real servers: they tell who answered, and which client address they saw.

``python -m lvskeeper.lab.servers --name rs1 --http 8080 --udp 5353`` serves until it is killed and
writes one line when it is ready. Paths of the HTTP server: ``/`` gives the facts, ``/status/503``
gives them with that status, ``/stream/20/0.1`` sends 20 chunks, one each 0.1 s.
"""

import argparse
import asyncio
import contextlib
import json
import select
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final, final

import asyncio_dgram
from asyncio_dgram.aio import DatagramServer

from lvskeeper.lab.netns import Namespace

READY: Final = "ready"
START_DEADLINE: Final = 60.0
"""Seconds for the start of a server; an emulated machine needs some for Python alone."""
BACKLOG: Final = 1024
DATAGRAM_LIMIT: Final = 65507
CHUNK: Final = b"400\r\n" + b"." * 1023 + b"\n\r\n"


def plain(address: str) -> str:
    """Return *address*, with an IPv4 one out of its IPv6 wrapping."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def listening_socket(kind: socket.SocketKind, port: int) -> socket.socket:
    """Return a socket on all addresses of both families."""
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setblocking(False)
    sock.bind(("::", port))
    return sock


def facts(name: str, peer: Sequence[Any], local: Sequence[Any]) -> bytes:
    """Return what a server tells about one exchange, as a line of JSON."""
    told = {
        "server": name,
        "peer": plain(peer[0]),
        "port": peer[1],
        "local": plain(local[0]),
        "local_port": local[1],
    }
    return json.dumps(told).encode() + b"\n"


async def _answer(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection, request after request while the client keeps it."""
    peer = writer.get_extra_info("peername")
    local = writer.get_extra_info("sockname")
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            match path.split("/"):
                case ["", "stream", count, pause]:
                    await _stream(writer, int(count), float(pause))
                case ["", "status", status]:
                    _page(writer, int(status), facts(name, peer, local))
                case _:
                    _page(writer, 200, facts(name, peer, local))
            await writer.drain()
            if b"\r\nconnection: close" in head.lower():
                break
    writer.close()


def _page(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = (
        f"HTTP/1.1 {status} Laboratory\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)


async def _stream(writer: asyncio.StreamWriter, count: int, pause: float) -> None:
    writer.write(b"HTTP/1.1 200 Laboratory\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        writer.write(CHUNK)
        await writer.drain()
        await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")


async def _echo(name: str, sock: socket.socket) -> None:
    """Answer each datagram with the facts and, after them, its own bytes."""
    local = sock.getsockname()
    stream = await asyncio_dgram.from_socket(sock)
    assert isinstance(stream, DatagramServer)
    while True:
        with contextlib.suppress(OSError):  # an ICMP error of an earlier answer
            data, peer = await stream.recv()
            assert isinstance(peer, tuple)
            await stream.send((facts(name, peer, local) + data)[:DATAGRAM_LIMIT], peer)


async def serve(name: str, http: Sequence[int], udp: Sequence[int]) -> None:
    """Serve the given ports until cancelled."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(name, reader, writer)

    async with contextlib.AsyncExitStack() as stack:
        for port in http:
            sock = listening_socket(socket.SOCK_STREAM, port)
            server = await asyncio.start_server(answer, sock=sock, backlog=BACKLOG)
            await stack.enter_async_context(server)
        tasks = [
            asyncio.create_task(_echo(name, listening_socket(socket.SOCK_DGRAM, port)))
            for port in udp
        ]
        print(READY, flush=True)
        await asyncio.gather(*tasks)
        await asyncio.Event().wait()


@final
class Server:
    """A real server's process: to be started, killed, and started again."""

    def __init__(
        self, namespace: Namespace, name: str, *, http: Sequence[int] = (), udp: Sequence[int] = ()
    ) -> None:
        self.namespace: Final = namespace
        self.name: Final = name
        self._arguments = ["-m", "lvskeeper.lab.servers", "--name", name]
        for port in http:
            self._arguments += ["--http", str(port)]
        for port in udp:
            self._arguments += ["--udp", str(port)]
        self._process: subprocess.Popen[str] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it; with *wait*, come back once its ports are open."""
        self._process = self.namespace.python(*self._arguments, stdout=subprocess.PIPE)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the ports are open; raise ``TimeoutError`` where they do not open."""
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_DEADLINE)
        if not readable or self._process.stdout.readline().strip() != READY:
            raise TimeoutError(f"the server {self.name} did not start")

    def kill(self) -> None:
        """End it as a power cut would: its connections are reset, its ports closed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def start_servers(servers: Sequence[Server]) -> None:
    """Start several at once, and come back when all of them are ready."""
    for server in servers:
        server.start(wait=False)
    for server in servers:
        server.wait_until_ready()


NGINX_PAGE: Final = (
    '{"server": "NAME", "peer": "$remote_addr", "port": $remote_port, '
    '"local": "$server_addr", "local_port": $server_port}'
)
NGINX: Final = """\
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {port} reuseport;
    listen [::]:{port} reuseport;
    location / {{
      return 200 '{page}\\n';
    }}
  }}
}}
"""


def nginx_server(namespace: Namespace, name: str, port: int, folder: Path) -> None:
    """Start Debian's nginx in *namespace* with the same page as :class:`Server` has.

    All of its files are in *folder*. It has bound its ports when this returns, and it ends with the
    namespace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "nginx.conf"
    page = NGINX_PAGE.replace("NAME", name)
    configuration.write_text(NGINX.format(folder=folder, port=port, page=page))
    error_log = str(folder / "error.log")
    namespace.run(["nginx", "-p", str(folder), "-e", error_log, "-c", str(configuration)])


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m lvskeeper.lab.servers", description=__doc__)
    parser.add_argument("--name", required=True, help="what the page says")
    parser.add_argument("--http", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--udp", type=int, action="append", default=[], metavar="PORT")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.name, options.http, options.udp))


if __name__ == "__main__":
    main()
