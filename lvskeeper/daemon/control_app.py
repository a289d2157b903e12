"""The paths of the control socket, on aiohttp."""

import asyncio
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias, final

import msgspec
from aiohttp import web

from lvskeeper.daemon.crowd import Crowd
from lvskeeper.daemon.lookup import look_up
from lvskeeper.daemon.questions import (
    AskError,
    Confirm,
    ListOverrides,
    Override,
    Question,
    ReadEvents,
    Record,
    Reload,
    Reply,
    TakeSnapshot,
)
from lvskeeper.daemon.web_app import Pages
from lvskeeper.observe.snapshot import API_VERSION, CODES, Failure, Problem

MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body."""
ANSWER_LIMIT: Final = 10.0
"""Seconds until something is answered at the latest; a role has less."""
ORDER_LIMIT: Final = 18.0
"""Seconds for an order, which the kernel has when it is answered."""
RELOAD_LIMIT: Final = 310.0
"""Seconds for a reload, which is in force when it is answered."""
EVENTS_LIMIT: Final = 40.0
"""Seconds for events, which a reader may wait for."""
NAME_LIMIT: Final = 1.0
"""Seconds for the name of who asks: a directory service may hang."""
MAX_CONNECTIONS: Final = 128
"""Connections at a time, with those on the way about half of what this process may open."""

Asker: TypeAlias = Callable[[Question, float, str], Awaitable[Reply]]


@final
@dataclass(frozen=True, slots=True)
class Route:
    """A path: what is asked for it."""

    method: str
    path: str
    question: type[Question]
    """A POST has its fields in the body, as JSON; a GET in its query."""
    limit: float = ANSWER_LIMIT


ROUTES: Final = (
    Route("GET", "/snapshot", TakeSnapshot),
    Route("GET", "/events", ReadEvents, EVENTS_LIMIT),
    Route("POST", "/recordings", Record),
    Route("GET", "/overrides", ListOverrides),
    Route("POST", "/overrides", Override, ORDER_LIMIT),
    Route("POST", "/reload", Reload, RELOAD_LIMIT),
    Route("POST", "/confirm", Confirm),
)


async def serve(listener: socket.socket, ask: Asker) -> None:
    """Answer on *listener* for ever; *ask* has the answers."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_in_json])
    Pages(ask).add_to(app, page=False)
    for route in ROUTES:
        app.router.add_route(route.method, f"/v{API_VERSION}{route.path}", _handler(route, ask))
    await Crowd(MAX_CONNECTIONS).serve(listener, app)


def _handler(route: Route, ask: Asker) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            if route.method == "POST":
                question = msgspec.json.decode(await request.read() or b"{}", type=route.question)
            else:
                question = msgspec.convert(dict(request.query), route.question, strict=False)
        except msgspec.DecodeError as error:
            where = "body" if route.method == "POST" else "query"
            raise AskError("bad_request", f"the {where} of the request: {error}") from None
        reply = await ask(question, route.limit, await _who(request))
        if reply.problem is None:
            return _answer(200, bytes(reply.body))
        status = CODES.get(reply.problem.code, 500)
        if bytes(reply.body) != b"null":
            return _answer(status, bytes(reply.body))
        return _failure(reply.problem)

    return handle


@web.middleware
async def _in_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let every answer be JSON, those to a path that does not exist included."""
    try:
        return await handler(request)
    except AskError as error:
        return _failure(error.problem)
    except web.HTTPNotFound:
        return _failure(Problem("not_found", f"there is no {request.path}"))
    except web.HTTPException as error:
        problem = Failure(
            Problem("bad_request", f"{request.method} {request.path}: {error.reason}")
        )
        return _answer(error.status, msgspec.json.encode(problem))


def _failure(problem: Problem) -> web.Response:
    return _answer(CODES.get(problem.code, 500), msgspec.json.encode(Failure(problem)))


def _answer(status: int, body: bytes) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


async def _who(request: web.Request) -> str:
    """Return the user at the other end, as unix(7) tells; his number if a name takes long."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        return ""
    form = struct.Struct("3i")
    _pid, uid, _gid = form.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    try:
        async with asyncio.timeout(NAME_LIMIT):
            return (await look_up(partial(pwd.getpwuid, uid))).pw_name
    except (LookupError, TimeoutError):
        return f"uid {uid}"
