"""Options of sockets for which Python has no call: forced buffers and classic BPF."""

import ctypes
import socket
from collections.abc import Iterable
from struct import Struct
from typing import Final, TypeAlias

SO_ATTACH_FILTER: Final = 26
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33

Instruction: TypeAlias = tuple[int, int, int, int]
"""Operation, jumps where true and where false, operand (``struct sock_filter``)."""

_INSTRUCTION: Final = Struct("@HBBI")
_PROGRAM: Final = Struct("@HP")
"""``struct sock_fprog``"""


def set_receive_buffer(receiver: socket.socket, size: int) -> None:
    """Give *receiver* a buffer of *size* bytes; without CAP_NET_ADMIN as much as is allowed."""
    _set_buffer(receiver, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)


def set_send_buffer(sender: socket.socket, size: int) -> None:
    """Give *sender* a buffer of *size* bytes; without CAP_NET_ADMIN as much as is allowed."""
    _set_buffer(sender, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)


def attach_filter(receiver: socket.socket, program: Iterable[Instruction]) -> None:
    """Let the kernel drop what *program*, in classic BPF, returns 0 for."""
    code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
    block = ctypes.create_string_buffer(code, len(code))
    value = _PROGRAM.pack(len(code) // _INSTRUCTION.size, ctypes.addressof(block))
    receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, value)


def _set_buffer(sock: socket.socket, force: int, plain: int, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
