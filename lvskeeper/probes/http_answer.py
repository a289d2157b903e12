"""The machine of one HTTP request: what is asked, and whether the answer is the wanted one.

It reads the body to its end, as keepalived does, so that a server which breaks off in the middle
is found; past :data:`MAX_BODY` it stops reading. It is stricter than keepalived, which reads no
headers: an answer with contradicting lengths fails, as it does with strict clients. A body in
chunks is put together before it is compared.
"""

import hashlib
import re
from typing import Final, final

from lvskeeper.health.spec import HttpVersion, Phase, Url
from lvskeeper.probes.attempt import ProbeError, one_line

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of a body that are read. A longer one fails where a digest is wanted, else it is enough."""
MAX_SEARCHED: Final = 1024 * 1024
"""Bytes of a body that a regex may see; a longer body is searched in its beginning."""
MAX_HEAD: Final = 256 * 1024
"""Bytes of all headers, those of interim answers too; keepalived knows no limit."""
MAX_LINE: Final = 4096
"""Bytes of the line before a chunk."""
USER_AGENT: Final = "lvskeeper"

_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/\d\.\d +(\d{3})(?: .*)?", re.DOTALL)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_FRAMING: Final = re.compile(
    rb"^[ \t]*(?:(content-length)|transfer-encoding)[ \t]*:([^\n]*)", re.IGNORECASE | re.MULTILINE
)
_NO_BODY: Final = frozenset({204, 304})


@final
class HttpTalk:
    """A :class:`~lvskeeper.probes.stream.Talk` for *url*, whose ``Host`` is *host*."""

    def __init__(self, url: Url, host: str, version: HttpVersion) -> None:
        self.phase = Phase.STATUS
        self.doing = "waiting for the answer"
        self.done = False
        self.searched = bytearray()
        """The body, or its beginning, where a regex is to see it."""
        self._url: Final = url
        self._host: Final = host
        self._version: Final = version
        self._head = bytearray()
        self._heads = 0
        self._body: _Length | _Chunks | None = None
        """``None``: the body lasts until the connection ends."""
        self._digest: Final = hashlib.md5(usedforsecurity=False) if url.digest else None
        self._size = 0

    def start(self) -> bytes:
        """Return the request."""
        version = "1.1" if self._version is HttpVersion.V11 else "1.0"
        close = "" if self._version is HttpVersion.V10 else "Connection: close\r\n"
        return (
            f"GET {self._url.path} HTTP/{version}\r\nHost: {self._host}\r\n"
            f"User-Agent: {USER_AGENT}\r\n{close}\r\n"
        ).encode("ascii", "replace")

    def receive(self, data: bytes) -> bytes:
        """Take a part of the answer; nothing is to be sent."""
        if self.phase is Phase.BODY:
            self._take(data)
            return b""
        looked = max(0, len(self._head) - 3)  # an end may have come in parts
        self._head += data
        while end := _END.search(self._head, looked):
            head = bytes(self._head[: end.start()])
            del self._head[: end.end()]
            self._heads += end.end()
            looked = 0
            if self._begin(head):
                self._take(bytes(self._head))
                return b""
        if self._heads + len(self._head) > MAX_HEAD:
            raise ProbeError(Phase.STATUS, f"no HTTP answer: more than {MAX_HEAD} bytes of headers")
        self._look_at_status()
        return b""

    def end(self) -> None:
        """Take the end of the answer."""
        if self.phase is Phase.STATUS:
            if not self._head and not self._heads:
                detail = "the server closed the connection without an answer"
            else:
                detail = "no HTTP answer: the headers broke off"
            raise ProbeError(Phase.STATUS, detail)
        if self._body is not None:
            raise ProbeError(Phase.BODY, "the body broke off")
        self._finish()

    def _look_at_status(self) -> None:
        """Refuse what is no HTTP at its first line, rather than wait for more of it."""
        line, found, _ = self._head.partition(b"\n")
        if found:
            _status(bytes(line))

    def _begin(self, head: bytes) -> bool:
        """Take the headers; return whether the body follows, and not another answer."""
        line, _, fields = head.partition(b"\n")
        status = _status(line)
        wanted = any(low <= status <= high for low, high in self._url.statuses)
        if 100 <= status < 200 and status != 101 and not wanted:
            return False
        if not wanted:
            wish = ", ".join(_range(low, high) for low, high in self._url.statuses)
            raise ProbeError(Phase.STATUS, f"status {status}, wanted {wish}")
        self.phase, self.doing = Phase.BODY, "reading the body"
        if status in _NO_BODY or status < 200:
            self._body = _Length(0)
        else:
            self._body = _framing(fields)
        return True

    def _take(self, data: bytes) -> None:
        body = self._body
        for part in (data,) if body is None else body.feed(data):
            self._size += len(part)
            if self._size > MAX_BODY:
                self._too_long()
                return
            if self._digest is not None:
                self._digest.update(part)
            if self._url.regex is not None and len(self.searched) < MAX_SEARCHED:
                self.searched += part[: MAX_SEARCHED - len(self.searched)]
        if body is not None and body.complete:
            self._finish()

    def _too_long(self) -> None:
        if self._url.digest:
            detail = f"body is longer than {MAX_BODY} bytes, no digest is made"
            raise ProbeError(Phase.BODY, detail)
        self.done = True

    def _finish(self) -> None:
        if self._digest is not None:
            wanted, found = self._url.digest.lower(), self._digest.hexdigest()
            if found != wanted:
                raise ProbeError(Phase.BODY, f"digest {found}, wanted {wanted}")
        self.done = True


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _status(line: bytes) -> int:
    found = _STATUS.fullmatch(line.rstrip(b"\r"))
    if found is None:
        text = one_line(line.decode("latin-1"), 40)
        raise ProbeError(Phase.STATUS, f"no HTTP answer: '{text}'")
    return int(found[1])


def _framing(fields: bytes) -> "_Length | _Chunks | None":
    """Return how the body ends, by the headers (RFC 9112, section 6.3)."""
    lengths = set()
    codings: list[bytes] = []
    for field in _FRAMING.finditer(fields):
        values = [one.strip().lower() for one in field[2].split(b",")]
        if field[1]:
            lengths.update(values)
        else:
            codings += values
    if codings:
        return _Chunks() if codings[-1] == b"chunked" else None
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(length := lengths.pop()):
        raise ProbeError(Phase.STATUS, "no HTTP answer: Content-Length is not one number")
    return _Length(int(length))


@final
class _Length:
    """A body of a known length."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def complete(self) -> bool:
        return self._left == 0

    def feed(self, data: bytes) -> list[bytes]:
        part = data[: self._left]
        self._left -= len(part)
        return [part]


@final
class _Chunks:
    """A body in chunks (RFC 9112, section 7.1); trailers are read and dropped."""

    def __init__(self) -> None:
        self.complete = False
        self._line = bytearray()
        self._left = 0
        self._trailer = False
        self._trailed = 0
        self._after = False
        """The line that ends a chunk's data is due."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of the body in *data*."""
        parts = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
                self._after = not self._left
                continue
            end = data.find(b"\n", at)
            self._line += data[at : end + 1 or len(data)]
            if len(self._line) > MAX_LINE:
                raise ProbeError(Phase.BODY, "the body is in chunks, and a line of them too long")
            if end < 0:
                break
            at = end + 1
            line = bytes(self._line).rstrip(b"\r\n")
            self._line.clear()
            self._take_line(line)
        return parts

    def _take_line(self, line: bytes) -> None:
        if self._trailer:
            self._trailed += len(line)
            if self._trailed > MAX_HEAD:
                raise ProbeError(Phase.BODY, "the trailers of the body are too long")
            self.complete = not line
        elif self._after:
            if line:
                raise ProbeError(Phase.BODY, "the body is in chunks, and one is too long")
            self._after = False
        elif size := _SIZE.fullmatch(line):
            self._left = int(size[1], 16)
            self._trailer = not self._left
        else:
            text = one_line(line.decode("latin-1"), 40)
            raise ProbeError(Phase.BODY, f"the body is in chunks, and '{text}' is no size of one")
