"""libnftables in this process: a transaction without a program to start.

An element costs 0.3 ms that way, a run of nft 10 to 30. In exchange a fault of the library is one
of this process; so it gets small texts of our own making only (see :mod:`lvskeeper.kernel.nft`).
"""

import ctypes
import functools
import weakref
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError

LIBRARY: Final = "libnftables.so.1"


@final
class Context:
    """A libnftables context, with a netlink socket in the namespace of the thread that makes it.

    Use it from one thread at a time. It goes when it is closed or nobody holds it any more; there
    is no need to make it anew, for it does not grow (10,000 elements, tables, refusals: none).
    Raises :class:`OperatorError`: UNSUPPORTED where *library* is absent or is none, KERNEL where
    the kernel gives no socket.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library: Final = _load(library)
        context = self._library.nft_ctx_new(0)
        if not context:
            raise OperatorError("libnftables has no netlink socket", status=ExitStatus.KERNEL)
        self._context: Final[int] = context
        self._finalizer: Final = weakref.finalize(self, self._library.nft_ctx_free, context)
        # Otherwise it writes to our standard output and error.
        self._library.nft_ctx_buffer_output(context)
        self._library.nft_ctx_buffer_error(context)

    def run(self, text: str) -> str:
        """Carry out *text* as one transaction, all or nothing, without the interpreter's lock.

        Returns what the library writes about a refusal, nothing where all went well.
        """
        assert self._finalizer.alive, "the context is closed"
        if not self._library.nft_run_cmd_from_buffer(self._context, text.encode()):
            return ""
        errors: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        return errors.decode(errors="replace") or "no reason given"

    def close(self) -> None:
        """Close the socket, with which tables of this owner go; twice is harmless."""
        self._finalizer()


@functools.cache
def _load(name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        for suffix in ("buffer_output", "buffer_error", "get_error_buffer", "free"):
            getattr(library, f"nft_ctx_{suffix}").argtypes = [ctypes.c_void_p]
        library.nft_ctx_free.restype = None
    except (OSError, AttributeError) as error:
        raise OperatorError(
            f"{name} is not there or is no libnftables: {error}",
            status=ExitStatus.UNSUPPORTED,
            hint="install libnftables1",
        ) from error
    return library
