"""HTTP_GET: ask for each URL in turn, and compare status and body.

It reads the body to its end, as keepalived does, so that a server which breaks off in the middle
is found; past :data:`MAX_BODY` it stops reading. Importing this module costs aiohttp (a few hundred
milliseconds): import it only where an HTTP check exists.

aiohttp is stricter than keepalived, which reads no headers: an answer with contradicting lengths
or header names that are none fails here, as it does with strict clients.
"""

import asyncio
import hashlib
import socket
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Final, final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult, Url
from lvskeeper.probes.offer import read_offer
from lvskeeper.probes.tcp import connect_phase, describe_os_error, timeout_detail
from lvskeeper.units import format_endpoint

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of a body that are read. A longer one fails where a digest is wanted, else it is enough."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of one header line, and header lines of an answer; keepalived knows no limit for either."""
USER_AGENT: Final = "lvskeeper"


@final
class _NoResolver(AbstractResolver):
    """Real servers are numeric addresses; a name here would be a bug, never a DNS query."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise OSError(f"{host}:{port} (family {family}) is not a numeric address")

    async def close(self) -> None:
        pass


@final
class HttpProber:
    """Makes HTTP probes. One session serves all, with a new connection for each request.

    Connections are never kept: an idle one would say nothing of whether the server still accepts.
    """

    def __init__(self) -> None:
        """Make the session; an event loop must run."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_note_connected)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                force_close=True, limit=0, use_dns_cache=False, resolver=_NoResolver(),
                happy_eyeballs_delay=None, socket_factory=_make_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            headers={"User-Agent": USER_AGENT},
            auto_decompress=False,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEAD,
            trust_env=False,
            trace_configs=[trace],
        )  # fmt: skip

    async def close(self) -> None:
        """Close the session; probes in flight fail."""
        await self._session.close()

    async def probe(self, spec: CheckSpec) -> ProbeResult:
        """Ask all URLs of *spec*, each within ``connect_timeout``; the first failure ends it."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        progress = SimpleNamespace(phase=Phase.CONNECT, sock=None, offer=None)
        _probing.set(progress)
        for url in spec.urls or (Url(),):
            phase, detail = await self._get(spec, url, progress)
            if phase is not Phase.DONE:
                if len(spec.urls) > 1:
                    detail = f"{url.path}: {detail}"
                return ProbeResult(phase, detail, loop.time() - start, progress.offer)
        return ProbeResult(Phase.DONE, elapsed=loop.time() - start, offer=progress.offer)

    async def _get(self, spec: CheckSpec, url: Url, progress: SimpleNamespace) -> tuple[Phase, str]:
        progress.phase = Phase.CONNECT
        try:
            async with asyncio.timeout(spec.connect_timeout):
                return await self._exchange(spec, url, progress)
        except (aiohttp.ClientError, OSError) as error:
            return _explain(error, progress.phase, spec.connect_timeout)

    async def _exchange(
        self, spec: CheckSpec, url: Url, progress: SimpleNamespace
    ) -> tuple[Phase, str]:
        endpoint = format_endpoint(spec.address, spec.port)
        async with self._session.get(
            URL(f"http://{endpoint}{url.path}", encoded=True),
            headers={"Host": url.virtualhost or endpoint},
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            progress.phase = Phase.BODY
            if not any(low <= response.status <= high for low, high in url.statuses):
                return Phase.STATUS, f"status {response.status}, wanted {_ranges(url.statuses)}"
            return await _read_body(response, url.digest)


async def _read_body(response: aiohttp.ClientResponse, wanted: str) -> tuple[Phase, str]:
    """Read to the end, and compare the MD5 digest where one is *wanted*."""
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            if wanted:
                return Phase.BODY, f"body is longer than {MAX_BODY} bytes, no digest is made"
            return Phase.DONE, ""
        if wanted:
            digest.update(chunk)
    if wanted and digest.hexdigest() != wanted.lower():
        return Phase.BODY, f"digest {digest.hexdigest()}, wanted {wanted.lower()}"
    return Phase.DONE, ""


def _explain(error: aiohttp.ClientError | OSError, phase: Phase, limit: float) -> tuple[Phase, str]:
    """Return where and how a request failed; *phase* is how far it had come."""
    match error:
        case TimeoutError(errno=None):
            phase, detail = Phase.TIMEOUT, timeout_detail(_DOING[phase], limit)
        case aiohttp.ClientConnectorError():
            phase, detail = connect_phase(error.os_error), describe_os_error(error.os_error)
        case aiohttp.ServerDisconnectedError():
            detail = "the server closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            detail = "the body broke off"
        case aiohttp.ClientResponseError():
            phase, detail = Phase.STATUS, f"no HTTP answer: {_one_line(error.message)}"
        case OSError():  # aiohttp.ClientOSError too
            detail = describe_os_error(error)
        case _:
            phase, detail = Phase.INTERNAL, f"{type(error).__name__}: {error}"
    return phase, detail


_probing: ContextVar[SimpleNamespace] = ContextVar("probing")
"""The probe that a task makes: aiohttp does not hand it to where sockets are made."""


def _make_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    _probing.get().sock = sock
    return sock


async def _note_connected(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateEndParams,
) -> None:
    progress = context.trace_request_ctx
    progress.phase = Phase.STATUS
    # The socket may be closed before the answer is looked at.
    progress.offer = read_offer(progress.sock)


_DOING: Final = {
    Phase.CONNECT: "connecting",
    Phase.STATUS: "waiting for the answer",
    Phase.BODY: "reading the body",
}


def _ranges(statuses: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in statuses)


def _one_line(text: str) -> str:
    """Return the start of *text* in one line, for the log."""
    return " ".join(text.split())[:80].rstrip(": ^")
