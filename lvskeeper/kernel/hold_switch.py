"""Turns on, for some seconds, the rules that hold packets after a take-over.

That is one element with a timeout for each family in the set ``hold`` of the director's table (see
:mod:`lvskeeper.fullnat.hold`), added by one netlink transaction of some 40 microseconds; the kernel
ends it by itself. Numbers are those of ``linux/netfilter/nf_tables.h`` and ``nfnetlink.h``.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.parts import SWITCH, TABLE
from lvskeeper.ipvs.wire import NLMSG_ERROR, attribute, error_of, messages
from lvskeeper.kernel.nfnetlink import INET, NESTED, NETLINK_NETFILTER, NFTABLES, request

BATCH_BEGIN, BATCH_END = 16, 17
NEW_ELEMENT, DELETE_ELEMENT = NFTABLES << 8 | 12, NFTABLES << 8 | 14
NLM_F_CREATE: Final = 0x400
FAMILIES: Final = (2, 10)
"""``NFPROTO_IPV4`` and ``NFPROTO_IPV6``."""
LIST_TABLE, LIST_SET, LIST_ELEMENTS, LIST_ELEMENT = 1, 2, 3, 1
KEY, TIMEOUT, VALUE = 1, 4, 1
RECEIVE: Final = 8192


@final
class HoldSwitch:
    """The switch in the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        except OSError as error:
            raise _refused(error) from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def turn_on(self, seconds: float) -> bool:
        """Hold packets from now on for so many *seconds*, whether they are held already or not.

        Returns false where there is no such set: no virtual server of ours needs it, or no director
        has run. It waits while the kernel takes a transaction of somebody else. Raises
        :class:`OperatorError` where the kernel refuses.
        """
        try:
            self._socket.send(transaction(seconds))
            failed = set(self._answers())
        except OSError as error:
            raise _refused(error) from error
        for number in failed - {errno.ENOENT}:
            raise _refused(OSError(number, os.strerror(number)))
        return not failed

    def _answers(self) -> Iterator[int]:
        """Yield the error numbers: the kernel has answered within the send."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._socket.recv(RECEIVE, socket.MSG_DONTWAIT)
                for kind, _, start, end in messages(data):
                    if kind == NLMSG_ERROR:
                        yield error_of(data, start, end)


def transaction(seconds: float) -> bytes:
    """Return the messages; what is there is taken out, as it would keep its old timeout."""
    keys = [attribute(KEY | NESTED, attribute(VALUE, bytes((family,)))) for family in FAMILIES]
    timeout = attribute(TIMEOUT, round(seconds * 1000).to_bytes(8, "big"))
    lasting = [key + timeout for key in keys]
    return b"".join(
        (
            request(BATCH_BEGIN, 0, 1, resource=NFTABLES),
            _elements(NEW_ELEMENT, NLM_F_CREATE, lasting),
            _elements(DELETE_ELEMENT, 0, keys),
            _elements(NEW_ELEMENT, NLM_F_CREATE, lasting),
            request(BATCH_END, 0, 1, resource=NFTABLES),
        )
    )


def _elements(kind: int, flags: int, elements: list[bytes]) -> bytes:
    body = (
        attribute(LIST_TABLE, TABLE.encode() + b"\0"),
        attribute(LIST_SET, SWITCH.encode() + b"\0"),
        attribute(
            LIST_ELEMENTS | NESTED,
            b"".join(attribute(LIST_ELEMENT | NESTED, element) for element in elements),
        ),
    )
    # Every message has a length that is a multiple of four, so none needs padding.
    return request(kind, flags, 1, INET, b"".join(body))


def _refused(error: OSError) -> OperatorError:
    return OperatorError(
        f"nftables does not hold packets at a take-over: {error.strerror or error}",
        status=ExitStatus.KERNEL,
        hint="connections of which the last news are still under way may be reset",
    )
