"""Real servers for the probes: nginx as an ordinary process, and sockets that misbehave."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from lvskeeper.health.spec import CheckKind, CheckSpec, Url
from lvskeeper.units import parse_address

NGINX_CONF = """
daemon off;
master_process off;
error_log {root}/error.log;
pid {root}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log {root}/access.log;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  gzip on; gzip_min_length 1; gzip_types *;
  {tls}
  server {{
    listen 127.0.0.1:{port};
    listen [::1]:{port};
    root {root}/www;
    location = /moved {{ return 302 /; }}
    location = /cookie {{ add_header Set-Cookie "a=b"; return 200 "$http_cookie"; }}
    location = /busy {{ return 503; }}
    location = /agent {{
      set $client "$http_user_agent,$http_host,$http_accept_encoding,$http_connection";
      return 200 "$client,$args,$server_protocol";
    }}
  }}
}}
"""
NGINX_TLS = """
  server {{
    listen 127.0.0.1:{port} ssl;
    listen [::1]:{port} ssl;
    root {root}/www;
    ssl_certificate {root}/server.pem;
    ssl_certificate_key {root}/server.key;
    ssl_protocols TLSv1.2;
    location = /name {{ return 200 "$ssl_server_name,$http_host,$server_protocol"; }}
    location = /client {{ return 200 "$ssl_client_s_dn"; }}
    ssl_verify_client optional;
    ssl_client_certificate {root}/ca.pem;
  }}
"""
START_LIMIT = 10.0

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def tcp(port: int, *, host: str = "127.0.0.1", limit: float = 5.0) -> CheckSpec:
    return CheckSpec(CheckKind.TCP, parse_address(host), port, connect_timeout=limit)


def http(port: int, *urls: Url, host: str = "127.0.0.1", limit: float = 5.0) -> CheckSpec:
    return CheckSpec(CheckKind.HTTP, parse_address(host), port, connect_timeout=limit, urls=urls)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def nginx(root: Path, *, tls_port: int = 0) -> Iterator[int]:
    """Run nginx with the files of ``root/www``; yield its port.

    With *tls_port* it speaks TLS there, with what :func:`certificates` put into *root*.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None, "nginx is not installed"
    port = free_port()
    tls = NGINX_TLS.format(root=root, port=tls_port) if tls_port else ""
    (root / "nginx.conf").write_text(NGINX_CONF.format(root=root, port=port, tls=tls))
    # Where root starts it, the files belong to root; the worker is the same process.
    command = [program, "-p", str(root), "-e", f"{root}/error.log", "-c", f"{root}/nginx.conf"]
    with subprocess.Popen(command) as process:
        try:
            _wait_for_port(port, process)
            yield port
        finally:
            process.terminate()


def certificates(root: Path) -> None:
    """Make an authority (``ca.pem``), and what it signed: ``server``, ``client``.

    The server's is for www.example.com and 127.0.0.1.
    """
    names = "subjectAltName=DNS:www.example.com,IP:127.0.0.1"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes"]  # fmt: skip
    ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    for name, more in (
        ("ca", ["-days", "2"]),
        ("server", [*ca, "-addext", names, "-days", "2"]),
        ("client", [*ca, "-days", "2"]),
    ):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
        subprocess.run([*make, *files, *more], cwd=root, check=True, capture_output=True)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT
    while True:
        assert process.poll() is None, "nginx ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nginx does not listen"
            time.sleep(0.02)
        else:
            return


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Serve connections with *handler* on 127.0.0.1; yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answer(data: bytes, *, after: float = 0.0) -> Handler:
    """Return a handler that reads a request's head, waits, sends *data* and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(after)
        writer.write(data)
        await writer.drain()

    return handle


@contextlib.contextmanager
def blackhole() -> Iterator[int]:
    """Yield a port of 127.0.0.1 whose connections never complete: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        # Queue length 0 still takes one; further ones stay unanswered.
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(address)
        time.sleep(0.05)
        yield address[1]
