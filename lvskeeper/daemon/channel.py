"""Messages between the supervisor and a role: length-prefixed JSON over a socket pair."""

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, final

import msgspec

from lvskeeper.daemon.questions import Ask, Reply, Serve
from lvskeeper.errors import ExitStatus
from lvskeeper.observe.diary import ToldEvent

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGE: Final = 256 * 1024 * 1024
"""Largest message in bytes; a configuration of 100,000 real servers needs about a quarter."""

MAX_OFFERED: Final = 256 * 1024
"""Bytes that may wait to be sent when something is offered that can do without."""

_LENGTH: Final = struct.Struct("!I")


@final
class Apply(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to a role: be as *spec* says, an encoded ``DirectorSpec`` or ``RouterSpec``."""

    generation: int
    spec: msgspec.Raw


@final
class Stop(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to a role: end; *remove* what is ours, unless `lvs_keep_on_stop` keeps it."""

    remove: bool


@final
class DirectorBeat(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to router: the director's loop turns."""


@final
class Report(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to a role: tell how every instance is, what was counted, as events."""


@final
class SyncRole(msgspec.Struct, frozen=True, tag=True):
    """Router to supervisor to director: what the IPVS sync daemon is to follow."""

    master: bool
    """Send connections rather than receive them."""


@final
class Mail(msgspec.Struct, frozen=True, tag=True):
    """Router to supervisor: send this, as *settings* (an encoded ``MailSpec``) say."""

    settings: msgspec.Raw
    subject: str
    body: str


@final
class Beat(msgspec.Struct, frozen=True, tag=True):
    """A role to the supervisor, once a second: the loop turns."""

    rounds: int = 0
    """Its looks at the kernel that were finished: a loop may turn, and yet nothing be done."""
    good: int = 0
    """Real servers that are up; instances that are MASTER."""
    total: int = 0
    """Of so many."""


@final
class Told(msgspec.Struct, frozen=True, tag=True):
    """A role to the supervisor: what it told in its log."""

    events: tuple[ToldEvent, ...]
    lost: int = 0
    """Events before these that could not be sent."""


@final
class Applied(msgspec.Struct, frozen=True, tag=True):
    """A role to the supervisor: *generation* is in the kernel, read back and compared."""

    generation: int
    operations: int = 0
    refused: int = 0
    """Operations that the kernel refused; each was told as an event and will be tried again."""
    virtual_servers: int = 0
    real_servers: int = 0
    instances: int = 0
    """VRRP instances."""
    changes: dict[str, int] = {}
    """The operations by kind."""


@final
class Failed(msgspec.Struct, frozen=True, tag=True):
    """A role to the supervisor: *generation* could not be applied."""

    generation: int
    message: str
    hint: str
    status: ExitStatus
    intact: bool
    """Nothing was changed: what ran before goes on. Else a new role has to clear it up."""


@final
class Stopped(msgspec.Struct, frozen=True, tag=True):
    """A role to the supervisor: what was to be removed is gone, but for *left*."""

    kept: bool = False
    left: tuple[str, ...] = ()
    """Why something of ours is still in the kernel, one sentence each."""


@final
class Loaded(msgspec.Struct, frozen=True, tag=True):
    """Loader to supervisor: a configuration file after parsing, lint and compilation."""

    spec: msgspec.Raw
    """The encoded ``DirectorSpec``; JSON's ``null`` when there are errors."""
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    """One line each, with place."""
    report: str
    """All diagnostics as ``lvskeeper check`` prints them."""
    status: ExitStatus = ExitStatus.CONFIG
    """How a start ends that cannot use the file."""
    router: msgspec.Raw = msgspec.Raw(b"null")
    """The encoded ``RouterSpec``; JSON's ``null`` where there is nothing for the router role."""
    control: Serve = Serve()
    """Who may use the control socket."""


ToDirector: TypeAlias = Apply | Stop | SyncRole | Report | Ask
ToRouter: TypeAlias = Apply | Stop | DirectorBeat | Report | Ask
FromRole: TypeAlias = Told | Beat | Applied | Failed | Stopped | SyncRole | Mail | Reply

Message = TypeVar("Message")


def encode(message: msgspec.Struct) -> bytes:
    """Return *message* with its length in front."""
    body = msgspec.json.encode(message)
    return _LENGTH.pack(len(body)) + body


@final
class Channel:
    """One end of a role's channel inside an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.ahead: Callable[[], None] = lambda: None
        """Called before each message is sent: what waits to be offered goes ahead of it."""

    @classmethod
    async def connect(cls, sock: socket.socket) -> "Channel":
        """Take over the connected *sock*."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**20)
        return cls(reader, writer)

    async def send(self, message: msgspec.Struct) -> None:
        """Send *message*; raise ``ConnectionError`` when the other end is gone."""
        self.ahead()
        self._writer.write(encode(message))
        await self._writer.drain()

    def offer(self, message: msgspec.Struct) -> bool:
        """Send *message* without waiting; return False where too much waits already."""
        if self._writer.transport.get_write_buffer_size() > MAX_OFFERED:
            return False
        if not self._writer.is_closing():
            self._writer.write(encode(message))
        return True

    async def receive(self, decoder: "msgspec.json.Decoder[Message]") -> Message | None:
        """Return the next message, or ``None`` when the other end is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MAX_MESSAGE:
                raise ValueError(f"message of {length} bytes on a role channel")
            return decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
