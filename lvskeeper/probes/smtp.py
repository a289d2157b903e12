"""SMTP_CHECK: take the greeting, say who we are, and take our leave (RFC 5321)."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, assert_never, final

from lvskeeper.health.spec import CheckSpec, Host, Phase, Smtp
from lvskeeper.probes.attempt import ProbeError, one_line
from lvskeeper.probes.stream import Step
from lvskeeper.units import format_endpoint

MAX_LINE: Final = 4096
"""Bytes of one line of a reply; the RFC allows 512."""
MAX_REPLY: Final = 65_536
"""Bytes of a reply of several lines."""

_LINE: Final = re.compile(rb"([2-5][0-9]{2})([ -]|$)(.*)", re.DOTALL)


@final
class _Stage(Enum):
    GREETING = "the greeting"
    HELO = "the answer to HELO"
    QUIT = "the answer to QUIT"


@final
class SmtpTalk:
    """A :class:`~lvskeeper.probes.stream.Talk` with a mail server."""

    def __init__(self, helo: str) -> None:
        self.phase = Phase.STATUS
        self.doing = f"waiting for {_Stage.GREETING.value}"
        self.done = False
        self._helo: Final = helo
        self._stage = _Stage.GREETING
        self._buffer = bytearray()
        self._taken = 0

    def start(self) -> bytes:
        """Return nothing: the server speaks first."""
        return b""

    def receive(self, data: bytes) -> bytes:
        """Take a part of a reply, and return what is said to it."""
        self._buffer += data
        said = b""
        while not self.done and (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._taken += end + 1
            said += self._line(line)
        if len(self._buffer) > MAX_LINE or self._taken > MAX_REPLY:
            raise ProbeError(Phase.STATUS, f"{self._stage.value} is too long")
        return said

    def end(self) -> None:
        """Take the end of what the server sends; after QUIT it may come without a word."""
        if self._stage is not _Stage.QUIT:
            detail = f"the server closed the connection before {self._stage.value}"
            raise ProbeError(Phase.STATUS, detail)
        self.done = True

    def _line(self, line: bytes) -> bytes:
        found = _LINE.fullmatch(line)
        if found is None:
            text = one_line(line.decode("latin-1"), 40)
            raise ProbeError(Phase.STATUS, f"{self._stage.value} is not SMTP: '{text}'")
        if found[2] == b"-":
            return b""  # more lines follow
        self._taken = 0
        match self._stage:
            case _Stage.GREETING:
                self._expect(found, 220)
                return self._go_on(_Stage.HELO, f"HELO {self._helo}\r\n")
            case _Stage.HELO:
                self._expect(found, 250)
                return self._go_on(_Stage.QUIT, "QUIT\r\n")
            case _Stage.QUIT:
                self.done = True
                return b""
            case _:
                assert_never(self._stage)

    def _expect(self, found: re.Match[bytes], code: int) -> None:
        if int(found[1]) != code:
            text = one_line(found[0].decode("latin-1"))
            raise ProbeError(Phase.STATUS, f"{self._stage.value} is '{text}', wanted {code}")

    def _go_on(self, stage: _Stage, text: str) -> bytes:
        self._stage, self.doing = stage, f"waiting for {stage.value}"
        return text.encode("ascii", "replace")


def smtp_steps(spec: CheckSpec) -> Iterator[Step]:
    """Yield a step for each host of *spec*, with its own ``connect_timeout``."""
    smtp = spec.smtp or Smtp()
    own = Host(spec.address, spec.port, spec.connect_timeout, spec.source)
    for host in smtp.hosts or (own,):
        yield Step(
            host.address,
            host.port,
            host.source,
            host.connect_timeout,
            SmtpTalk(smtp.helo),
            about=format_endpoint(host.address, host.port) if smtp.hosts else "",
            own=host.address == spec.address,
        )
