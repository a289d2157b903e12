"""A conversation over TCP or TLS: connects, and carries bytes between a socket and a machine.

TLS runs through memory (``ssl.MemoryBIO``), so that the handshake is a phase of its own, and one
loop serves both.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from typing import Final, Protocol, TypeAlias, final

from lvskeeper.health.spec import Phase, Source
from lvskeeper.probes.attempt import ProbeError, Progress, one_line
from lvskeeper.probes.offer import read_offer
from lvskeeper.probes.sockets import endpoint, open_socket
from lvskeeper.units import Address

READ_SIZE: Final = 65_536

_PLACE: Final = re.compile(r"\[\w+\] | \(_ssl\.c:\d+\)")
"""What Python says of its own source in an error of TLS."""


class Talk(Protocol):
    """The machine of one conversation: fed with bytes, it says what to send. It has no socket.

    Each method raises :class:`ProbeError` where the server does not answer as it should.
    """

    phase: Phase
    """What a failure now would be of."""
    doing: str
    """What it waits for, in words."""
    done: bool
    """All has been said, and was well."""

    def start(self) -> bytes:
        """Return what to send at once."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Take what came, and return what to send."""
        ...

    def end(self) -> None:
        """Take the end of what the server sends."""
        ...


@final
class _Plain:
    def __init__(self, sock: socket.socket) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._sock: Final = sock

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def receive(self) -> bytes:
        data = await self._loop.sock_recv(self._sock, READ_SIZE)
        if len(data) == READ_SIZE:
            # More may be there already, and the loop would have no turn.
            await asyncio.sleep(0)
        return data

    def close(self) -> None:
        pass


@final
class _Tls:
    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        self._sock: Final = sock
        self._plain: Final = _Plain(sock)
        self._in: Final = ssl.MemoryBIO()
        self._out: Final = ssl.MemoryBIO()
        self._tls: Final = context.wrap_bio(self._in, self._out, server_hostname=name)

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                # The server learns why.
                with contextlib.suppress(OSError):
                    await self._flush()
                raise ProbeError(Phase.TLS, describe_tls_error(error)) from error
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        # The memory takes all at once.
        self._tls.write(data)
        await self._flush()

    async def receive(self) -> bytes:
        """Return what came; nothing at the end.

        Raise ``ssl.SSLError``, also at an end that is not one of TLS.
        """
        while True:
            try:
                data = self._tls.read(READ_SIZE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                return data

    def close(self) -> None:
        """Say farewell, where that goes without waiting."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._sock.send(self._out.read())

    async def _flush(self) -> None:
        if data := self._out.read():
            await self._plain.send(data)

    async def _fill(self) -> None:
        if data := await self._plain.receive():
            self._in.write(data)
        else:
            self._in.write_eof()


Channel: TypeAlias = _Plain | _Tls


async def connect(to: tuple[Address, int], source: Source, progress: Progress) -> socket.socket:
    """Return a socket that is connected to an address and port.

    Note in *progress* what the server offered. Raise :class:`ProbeError` or ``OSError``.
    """
    progress.phase, progress.doing = Phase.CONNECT, "connecting"
    address, port = to
    sock = open_socket(address, source, socket.SOCK_STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(sock, endpoint(address, port))
    except BaseException:
        sock.close()
        raise
    progress.offer = read_offer(sock)
    return sock


async def converse(
    sock: socket.socket,
    talk: Talk,
    progress: Progress,
    *,
    context: ssl.SSLContext | None = None,
    name: str | None = None,
    strict: bool = False,
) -> None:
    """Lead *talk* over *sock*, with TLS where there is a *context*.

    *name* is what TLS asks for. With *strict* the end of the connection has to be one of TLS. Raise
    :class:`ProbeError`, or ``OSError`` with the phase in *progress*.
    """
    channel: Channel = _Plain(sock)
    if context is not None:
        progress.phase, progress.doing = Phase.TLS, "making the TLS connection"
        channel = _Tls(sock, context, name)
        await channel.handshake()
    await _send(channel, talk.start(), progress)
    while not talk.done:
        progress.phase, progress.doing = talk.phase, talk.doing
        try:
            data = await channel.receive()
        except ssl.SSLError as error:
            if not _is_end(error):
                raise ProbeError(talk.phase, describe_tls_error(error)) from error
            if strict:
                detail = "the connection ended without the end of TLS (close_notify)"
                raise ProbeError(talk.phase, detail) from error
            data = b""
        if data:
            await _send(channel, talk.receive(data), progress)
        else:
            talk.end()
    channel.close()


async def _send(channel: Channel, data: bytes, progress: Progress) -> None:
    if data:
        progress.phase, progress.doing = Phase.SEND, "sending"
        try:
            await channel.send(data)
        except ssl.SSLError as error:  # an OSError, too, whose number is not the system's
            raise ProbeError(Phase.SEND, describe_tls_error(error)) from error


def _is_end(error: ssl.SSLError) -> bool:
    """Whether the connection has ended, and not by an end of TLS."""
    # Which one it is differs between versions of Python and OpenSSL.
    ends = ssl.SSLEOFError | ssl.SSLZeroReturnError
    return isinstance(error, ends) or error.reason == "UNEXPECTED_EOF_WHILE_READING"


def describe_tls_error(error: ssl.SSLError) -> str:
    """Return an error of TLS in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {one_line(error.verify_message)}"
    if _is_end(error):
        return "the server closed the connection in the handshake"
    text = error.reason or _PLACE.sub("", str(error))
    return one_line(text.lower().replace("_", " "))
