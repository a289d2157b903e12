"""TLS of probes: contexts, whose files are read beside the loop, and a machine without a socket."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from lvskeeper.health.certificate import not_after
from lvskeeper.health.spec import Phase, Tls
from lvskeeper.probes.attempt import ProbeError, one_line

if TYPE_CHECKING:
    from lvskeeper.probes.stream import Talk

_VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_OLD_CIPHERS: Final = "DEFAULT:@SECLEVEL=0"
"""For servers that are not verified: that they answer is what counts, however old they are."""
_OLD_VERSIONS: Final = frozenset({"1.0", "1.1"})
"""They sign with SHA-1 and MD5; so who will do with them has to do with old ciphers."""
_READ_SIZE: Final = 65_536
_PLACE: Final = re.compile(r"\[\w+\] | \(_ssl\.c:\d+\)")
"""What Python says of its own source in an error of TLS."""


@final
class Contexts:
    """Contexts of TLS, one for all checks that speak it alike."""

    def __init__(self) -> None:
        self._tasks: dict[Tls, asyncio.Task[ssl.SSLContext]] = {}

    def forget_files(self) -> None:
        """Read certificates and keys anew when they are needed next."""
        self._tasks.clear()

    def use(self, tls: Tls, then: Callable[[], None]) -> None:
        """Call *then* when the context of *tls* can be taken: at once, or when files are read."""
        task = self._tasks.get(tls)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            made = asyncio.to_thread(make_context, tls)
            task = asyncio.get_running_loop().create_task(made)
            self._tasks[tls] = task
            # Where its probe is gone, nobody else takes its failure.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if task.done():
            then()
        else:
            task.add_done_callback(lambda _: then())

    def take(self, tls: Tls) -> ssl.SSLContext:
        """Return the context; raise :class:`ProbeError` with ``INTERNAL`` where files are bad."""
        task = self._tasks.get(tls)
        if task is None or not task.done() or task.cancelled():  # files were forgotten meanwhile
            raise ProbeError(Phase.INTERNAL, "files of TLS are being read anew")
        return task.result()


@final
class TlsTalk:
    """A :class:`~lvskeeper.probes.stream.Talk` that leads another one through TLS, in memory.

    *name* is what the server is asked for.
    """

    def __init__(self, talk: "Talk", context: ssl.SSLContext, name: str | None, tls: Tls) -> None:
        self.phase = Phase.TLS
        self.doing = "making the TLS connection"
        self.done = False
        self.expires: float | None = None
        """When the server's certificate expires, in seconds of the wall clock."""
        self._talk: Final = talk
        self._tls: Final = tls
        self._in: Final = ssl.MemoryBIO()
        self._out: Final = ssl.MemoryBIO()
        self._object: Final = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._shaken = False

    def start(self) -> bytes:
        """Return the first message of the handshake."""
        return self._go_on()

    def receive(self, data: bytes) -> bytes:
        """Take what came, and return what to send."""
        self._in.write(data)
        return self._go_on()

    def end(self) -> None:
        """Take the end of the connection, which may be one of TLS or not."""
        self._in.write_eof()
        self._go_on()

    def farewell(self) -> bytes:
        """Return what is left to say: why we go, or that we go."""
        with contextlib.suppress(OSError):
            if self._shaken:
                self._object.unwrap()
        return self._out.read()

    def _go_on(self) -> bytes:
        if not self._shaken:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return self._out.read()
            except ssl.SSLError as error:
                raise ProbeError(Phase.TLS, describe_tls_error(error)) from error
            self._shaken = True
            if self._tls.expiry:
                self.expires = not_after(self._object.getpeercert(binary_form=True) or b"")
            self._say(self._talk.start())
        while not self._talk.done:
            try:
                data = self._object.read(_READ_SIZE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                data = self._judge_end(error)
            if data:
                self._say(self._talk.receive(data))
            else:
                self._talk.end()
        self.phase, self.doing, self.done = self._talk.phase, self._talk.doing, self._talk.done
        return self._out.read()

    def _judge_end(self, error: ssl.SSLError) -> bytes:
        """Return nothing, as at an end, where the connection may end so."""
        if not _is_end(error):
            # TLS 1.3 refuses our certificate, or that there is none, only after the handshake.
            raise ProbeError(Phase.TLS, describe_tls_error(error)) from error
        if self._tls.strict_close:
            detail = "the connection ended without the end of TLS (close_notify)"
            raise ProbeError(self._talk.phase, detail) from error
        return b""

    def _say(self, data: bytes) -> None:
        if data:
            try:
                self._object.write(data)  # the memory takes all at once
            except ssl.SSLError as error:
                raise ProbeError(Phase.SEND, describe_tls_error(error)) from error


def make_context(tls: Tls) -> ssl.SSLContext:
    """Read the files of *tls*; raise :class:`ProbeError` with ``INTERNAL`` where one is no good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whether an end of the connection without one of TLS will do is decided in the conversation.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    _set_demands(context, tls)
    what = ""
    try:
        if tls.verify:
            what = f"ca {tls.ca or 'of the system'}"
            if tls.ca:
                context.load_verify_locations(tls.ca)
            else:
                context.load_default_certs()
        if tls.certificate:
            what = f"certificate {tls.certificate}"
            _readable(tls.certificate)
            if tls.key:
                what = f"key {tls.key}"
                _readable(tls.key)
            context.load_cert_chain(tls.certificate, tls.key or None, tls.password or _no_password)
    except ssl.SSLError as error:
        detail = describe_tls_error(error)
        if tls.password:
            detail += "; the password may be wrong"
        raise ProbeError(Phase.INTERNAL, f"{what}: {detail}") from error
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise ProbeError(Phase.INTERNAL, f"{what}: {(text or str(error)).lower()}") from error
    return context


def _set_demands(context: ssl.SSLContext, tls: Tls) -> None:
    if tls.minimum:
        context.minimum_version = _VERSIONS[tls.minimum]
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if not tls.verify or tls.minimum in _OLD_VERSIONS:
        context.set_ciphers(_OLD_CIPHERS)


def _readable(path: str) -> None:
    """Raise ``OSError`` where *path* cannot be read: which file it is ``ssl`` would not say."""
    with Path(path).open("rb"):
        pass


def _no_password() -> str:
    """Refuse; without this, OpenSSL would ask at the terminal."""
    raise ValueError("it needs a password")


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
