"""IPVS for those who only look: what would change anything is not sent."""

from typing import Final, final

from lvskeeper.ipvs.dialect import GENL_ID_CTRL
from lvskeeper.ipvs.encode import Command
from lvskeeper.ipvs.wire import messages
from lvskeeper.kernel.netlink import NetlinkSocket, SocketFactory, open_socket

_READS: Final = frozenset(
    {
        Command.GET_SERVICE, Command.GET_DEST, Command.GET_DAEMON, Command.GET_CONFIG,
        Command.GET_INFO, Command.GET_LADDR,
    }
)  # fmt: skip
_COMMAND_AT: Final = 16
"""Behind the netlink header (``struct nlmsghdr``) comes the command of ``struct genlmsghdr``."""


@final
class ReadingSocket:
    """A generic netlink socket through which IPVS can only be asked."""

    def __init__(self, factory: SocketFactory = open_socket) -> None:
        self._socket: NetlinkSocket = factory()

    def send(self, data: bytes, /) -> None:
        """Send questions; raise ``RuntimeError``, with nothing sent, where one is none."""
        for kind, _, start, _ in messages(data):
            if kind != GENL_ID_CTRL and data[start + _COMMAND_AT] not in _READS:
                raise RuntimeError("a command that changes IPVS where it is only looked at")
        self._socket.send(data)

    def recv(self) -> bytes:
        """Return the next datagram."""
        return self._socket.recv()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
