"""What is read from outside: metrics, health for probes, and the status page with its JSON.

Nothing in here changes anything. Readers that come at once share one question to the daemon.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final, TypeAlias, final

import msgspec
from aiohttp import web

from lvskeeper.daemon.crowd import Crowd
from lvskeeper.daemon.questions import AskError, Question, Reply, TakeSnapshot
from lvskeeper.kernel.ipvs_proc import read_traffic
from lvskeeper.observe.metric import Facts, Suite
from lvskeeper.observe.snapshot import Snapshot
from lvskeeper.observe.views import STALE_AFTER

LIMIT: Final = 8.0
"""Seconds until something is answered."""
MAX_READERS: Final = 32
"""Connections to the status page at a time."""
FILES: Final = {
    "/": ("index.html", "text/html"),
    "/status.js": ("status.js", "text/javascript"),
    "/status.css": ("status.css", "text/css"),
}
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
SUITES: Final = {"keepalived": Suite.KEEPALIVED, "node": Suite.NODE}

Asker: TypeAlias = Callable[[Question, float, str], Awaitable[Reply]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@final
class Pages:
    """The pages; *ask* has the snapshots."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask
        self._asking: asyncio.Task[bytes] | None = None

    def add_to(self, app: web.Application, *, page: bool) -> None:
        """Add the paths to *app*; the status page only with *page*."""
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        if page:
            app.router.add_get("/status.json", self._status)
            for path, (name, kind) in FILES.items():
                app.router.add_get(path, _file(name, kind))

    async def _body(self) -> bytes:
        """Return the JSON of a snapshot that is asked for now; raise :class:`AskError`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._question())
        return await asyncio.shield(self._asking)

    async def _question(self, *, roles: bool = True) -> bytes:
        reply = await self._ask(TakeSnapshot(roles), LIMIT, "")
        if reply.body == b"null":
            assert reply.problem is not None
            raise AskError(reply.problem.code, reply.problem.message, reply.problem.hint)
        return bytes(reply.body)

    async def _snapshot(self) -> Snapshot:
        return msgspec.json.decode(await self._body(), type=Snapshot)

    async def _status(self, _request: web.Request) -> web.Response:
        try:
            return _answer(200, await self._body(), "application/json")
        except AskError as error:
            body = msgspec.json.encode({"error": error.problem})
            return _answer(503, body, "application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        from lvskeeper.observe.exposition import (  # noqa: PLC0415 - prometheus-client
            CONTENT_TYPE,
            expose,
        )

        names = [name for text in request.query.getall("names", []) for name in text.split(",")]
        if unknown := [name for name in names if name not in SUITES]:
            return _answer(400, f"no names '{unknown[0]}'; there are keepalived, node\n".encode())
        try:
            snapshot = await self._snapshot()
        except AskError as error:
            return _answer(503, f"{error.problem.message}\n".encode())
        facts = Facts(snapshot, time.monotonic(), await asyncio.to_thread(read_traffic))
        suites = (Suite.OWN, *(SUITES[name] for name in names))
        body = await asyncio.to_thread(expose, facts, suites)
        return web.Response(body=body, headers=HEADERS | {"Content-Type": CONTENT_TYPE})

    async def _health(self, _request: web.Request) -> web.Response:
        """Answer 200 while the supervisor answers and every role that runs gives signs of life."""
        try:
            snapshot = msgspec.json.decode(await self._question(roles=False), type=Snapshot)
        except AskError as error:
            return _answer(503, f"{error.problem.message}\n".encode())
        silent = [
            f"the {role.name} role has been silent for {role.beat_age:.1f} s\n"
            for role in snapshot.daemon.roles
            if role.beat_age is not None and role.beat_age > STALE_AFTER
        ]
        return _answer(503 if silent else 200, "".join(silent or ["ok\n"]).encode())

    async def _ready(self, _request: web.Request) -> web.Response:
        """Answer 200 while a configuration is applied and every role answers."""
        try:
            snapshot = await self._snapshot()
        except AskError as error:
            return _answer(503, f"{error.problem.message}\n".encode())
        why = [f"{problem.message}\n" for problem in snapshot.problems]
        if snapshot.daemon.applied_age is None:
            why.append("no configuration is applied yet\n")
        return _answer(503 if why else 200, "".join(why or ["ok\n"]).encode())


async def serve_web(listener: socket.socket, ask: Asker) -> None:
    """Serve the pages on *listener* for ever."""
    app = web.Application(client_max_size=0, middlewares=[_guard])
    Pages(ask).add_to(app, page=True)
    await Crowd(MAX_READERS).serve(listener, app)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let nobody in who came by another name: a page elsewhere may have made it point to us."""
    if not _is_local(request.host):
        return _answer(403, b"this page is for localhost alone\n")
    return await handler(request)


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]")
    if name in {"localhost", "lvskeeper"}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _file(name: str, kind: str) -> Handler:
    body = resources.files("lvskeeper.observe").joinpath("web", name).read_bytes()

    async def handle(_request: web.Request) -> web.Response:
        return _answer(200, body, kind)

    return handle


def _answer(status: int, body: bytes, kind: str = "text/plain") -> web.Response:
    return web.Response(
        status=status, body=body, content_type=kind, charset="utf-8", headers=HEADERS
    )
