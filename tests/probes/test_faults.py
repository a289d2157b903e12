"""Each kind of check by TCP asks a real service through a relay that provokes each fault in turn.

nginx, nginx with TLS and aiosmtpd stand behind it. The other kinds have faults of their own:
``test_datagrams.py``, ``test_ping.py``, and ``test_misc_checks.py`` and ``test_file_checks.py`` of
the daemon.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP
from support.http_servers import certificates, free_port, http, nginx, serving, tcp
from support.probing import Prober

from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, Smtp, Tls, Url

pytestmark = pytest.mark.asyncio

SHORT, LONG = 0.5, 20.0
"""Limits of probes that are to run into them, and of others."""
HELD = 4
"""Bytes of the service's answer that come through before a cut."""


class Fault(Enum):
    NONE = "none"
    SILENT = "it takes the connection and is silent"
    RESET = "it resets the connection once it has heard something"
    CUT = "it ends after some bytes of the answer"
    GARBLED = "other bytes than the service's come first"
    STALLED = "it stops after some bytes of the answer"


@asynccontextmanager
async def relay(port: int, fault: Fault) -> AsyncIterator[int]:
    """Yield a port behind which is the service of *port*, with a fault."""

    async def there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if fault is Fault.SILENT:
            await asyncio.Event().wait()
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.ensure_future(there(reader, forth))
        try:
            answer = await back.read(65536)
            if fault is Fault.RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                return
            if fault is Fault.GARBLED:
                writer.write(b"\x00\xff rubbish\r\n\r\n")
            writer.write(answer[:HELD] if fault in {Fault.CUT, Fault.STALLED} else answer)
            await writer.drain()
            if fault is Fault.STALLED:
                await asyncio.Event().wait()
            if fault is not Fault.CUT:
                await there(back, writer)
        finally:
            asking.cancel()
            forth.close()

    async with serving(handle) as own:
        yield own


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nginx")
    for each in (root, *list(root.parents)[:2]):
        each.chmod(0o755)
    certificates(root)
    (root / "www").mkdir()
    (root / "www" / "index.html").write_text("hello")
    return root


@pytest.fixture(scope="module")
def web(pem: Path) -> Iterator[tuple[int, int]]:
    """Ports of nginx, without and with TLS."""
    tls = free_port()
    with nginx(pem, tls_port=tls) as plain:
        yield plain, tls


@pytest_asyncio.fixture
async def mail() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(object()), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest_asyncio.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober()
    yield prober
    await prober.close()


def check(kind: CheckKind, port: int, pem: Path) -> CheckSpec:
    match kind:
        case CheckKind.TCP:
            return tcp(port)
        case CheckKind.SMTP:
            return replace(tcp(port), kind=kind, smtp=Smtp())
        case CheckKind.SSL:
            tls = Tls(verify=True, ca=f"{pem}/ca.pem")
            return replace(http(port, Url()), kind=kind, tls=tls)
        case _:
            return http(port, Url())


WELL = Phase.DONE, ""
OUTCOMES: dict[Fault, dict[CheckKind, tuple[Phase, str]]] = {
    Fault.NONE: {CheckKind.HTTP: WELL, CheckKind.SSL: WELL, CheckKind.SMTP: WELL},
    Fault.SILENT: {
        CheckKind.HTTP: (Phase.TIMEOUT, "while waiting for the answer"),
        CheckKind.SSL: (Phase.TIMEOUT, "while making the TLS connection"),
        CheckKind.SMTP: (Phase.TIMEOUT, "while waiting for the greeting"),
    },
    Fault.RESET: {
        CheckKind.HTTP: (Phase.STATUS, "connection reset"),
        CheckKind.SSL: (Phase.TLS, "connection reset"),
        CheckKind.SMTP: (Phase.STATUS, "connection reset"),
    },
    Fault.CUT: {
        CheckKind.HTTP: (Phase.STATUS, "no HTTP answer: the headers broke off"),
        CheckKind.SSL: (Phase.TLS, "the server closed the connection in the handshake"),
        CheckKind.SMTP: (Phase.STATUS, "the server closed the connection before the greeting"),
    },
    Fault.GARBLED: {
        CheckKind.HTTP: (Phase.STATUS, "no HTTP answer"),
        CheckKind.SSL: (Phase.TLS, "wrong version number"),
        CheckKind.SMTP: (Phase.STATUS, "the greeting is not SMTP"),
    },
    Fault.STALLED: {
        CheckKind.HTTP: (Phase.TIMEOUT, "while waiting for the answer"),
        CheckKind.SSL: (Phase.TIMEOUT, "while making the TLS connection"),
        CheckKind.SMTP: (Phase.TIMEOUT, "while waiting for the greeting"),
    },
}
"""Phase and a part of the detail. A TCP_CHECK asks for the connection alone, and is always well."""


@pytest.mark.parametrize("kind", [CheckKind.TCP, CheckKind.HTTP, CheckKind.SSL, CheckKind.SMTP])
@pytest.mark.parametrize("fault", Fault)
async def test_every_fault_has_its_phase(  # noqa: PLR0917 - fixtures
    kind: CheckKind, fault: Fault, web: tuple[int, int], mail: int, pem: Path, prober: Prober
) -> None:
    phase, detail = OUTCOMES[fault].get(kind, WELL)
    limit = SHORT if phase is Phase.TIMEOUT else LONG
    async with relay(
        {CheckKind.SSL: web[1], CheckKind.SMTP: mail}.get(kind, web[0]), fault
    ) as port:
        result = await prober.probe(replace(check(kind, port, pem), connect_timeout=limit))
    assert (result.phase, detail in result.detail) == (phase, True), result
    assert bool(result.detail) == bool(detail)


@pytest.mark.parametrize("kind", [CheckKind.TCP, CheckKind.HTTP, CheckKind.SSL, CheckKind.SMTP])
async def test_nobody_listens(kind: CheckKind, pem: Path, prober: Prober) -> None:
    result = await prober.probe(check(kind, free_port(), pem))
    assert (result.phase, result.detail) == (Phase.CONNECT, "connection refused")
