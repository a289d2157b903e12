"""PING_CHECK: one echo request, by a ping socket of the kernel, which needs no privilege.

It needs our group in ``net.ipv4.ping_group_range``, though, which counts for IPv6 too. The kernel
gives the message its identifier and checksum, and hands us none but the answers to it.
"""

import struct
from typing import Final, final

TOKEN: Final = 24
"""Random bytes of a request, by which its answer is known."""

_HEAD: Final = struct.Struct("!BBHHH")
_REQUEST, _REPLY = 8, 0
"""RFC 792."""
_REQUEST6, _REPLY6 = 128, 129
"""RFC 4443."""


@final
class PingQuestion:
    """The machine of one echo request with a *token*; *ipv6* says by which protocol."""

    silence_is_well: Final = False

    def __init__(self, token: bytes, *, ipv6: bool) -> None:
        self._token = token
        self._request, self._reply = (_REQUEST6, _REPLY6) if ipv6 else (_REQUEST, _REPLY)

    def ask(self) -> bytes:
        """Return the message, without what the kernel fills in."""
        return _HEAD.pack(self._request, 0, 0, 0, 1) + self._token

    def answer(self, data: bytes) -> bool:
        """Take a message; one that is not the echo is passed over."""
        return data[:1] == bytes((self._reply,)) and data[_HEAD.size :] == self._token
