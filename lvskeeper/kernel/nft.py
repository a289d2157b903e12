"""Access to nftables: transactions through the ``nft`` program, the generation, the guard table.

Everything works on the network namespace of the process. A transaction costs a process (10 to 30
ms, off the loop); :meth:`Generation.read` costs some ten microseconds, so that a table is listed
and compared only after somebody changed something.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import re
import shutil
import socket
import struct
from types import TracebackType
from typing import Final, Self, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.content import Content, parse_listing
from lvskeeper.fullnat.ruleset import FAMILY, GUARD_TABLE, TABLE, guard_text

NFT_DEADLINE: Final = 60.0
"""Seconds for one run of nft: 5,000 services take a tenth of one, a starved machine far more."""

KILL_PATIENCE: Final = 1.0
"""Seconds that an nft gets to end once it is killed."""

SEARCH_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where nft may be when PATH is that of an ordinary user."""

LIBRARY: Final = "libnftables.so.1"

_MESSAGE_LIMIT: Final = 400
_NLMSG_ERROR: Final = 2


@final
class Nft:
    """Runs nft transactions one at a time.

    Raises ``OperatorError`` (UNSUPPORTED) where the nft program is not there.
    """

    def __init__(self) -> None:
        program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")
        if program is None:
            raise OperatorError(
                "the nft program is not there; FULLNAT on this kernel needs it",
                status=ExitStatus.UNSUPPORTED,
                hint="install the nftables package",
            )
        self._program = program
        self._lock = asyncio.Lock()
        self._generation = Generation()

    def close(self) -> None:
        """Close the netlink socket."""
        self._generation.close()

    def generation(self) -> int:
        """Return the number of the last transaction in this namespace, whoever made it."""
        return self._generation.read()

    async def check(self, text: str) -> None:
        """Let nft and the kernel validate *text* and change nothing.

        It loads the kernel modules that the statements need, and so tells whether the kernel has
        them. Raises ``OperatorError`` as :meth:`apply` does.
        """
        async with self._lock:
            await self._transact(text, "-c")

    async def apply(self, text: str) -> int:
        """Carry out *text* as one transaction, all or nothing.

        Returns the generation up to which the caller knows the tables. Where a foreign transaction
        came between, that is the one before, so that the next look at :meth:`generation` differs.
        Raises ``OperatorError`` naming the line that was refused, and a cure where one is known.
        """
        async with self._lock:
            before = self.generation()
            await self._transact(text)
            after = self.generation()
            return after if after - before == 1 else before

    async def read(self) -> Content | None:
        """Return what our table holds, ``None`` where there is no such table."""
        async with self._lock:
            # Protocols as numbers: for a name nft opens /etc/protocols, once an element.
            arguments = ("-j", "-p", "list", "table", FAMILY, TABLE)
            status, output, errors = await self._run(arguments, b"")
        if status == 0:
            # 5,000 services take 40 ms to parse: not on the loop.
            try:
                return await asyncio.to_thread(parse_listing, output)
            except ValueError:
                # Nothing that we could have made looks like that: it differs from all rulesets.
                return Content()
        if "No such file or directory" in errors:
            return None
        raise refusal(errors, "")

    async def _transact(self, text: str, *options: str) -> None:
        status, _, errors = await self._run((*options, "-f", "-"), text.encode())
        if status:
            raise refusal(errors, text)

    async def _run(self, arguments: tuple[str, ...], data: bytes) -> tuple[int, bytes, str]:
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", SEARCH_PATH)},
        )
        try:
            async with asyncio.timeout(NFT_DEADLINE):
                output, errors = await process.communicate(data)
        except TimeoutError:
            raise OperatorError(
                f"nft did not answer within {NFT_DEADLINE:.0f} seconds",
                status=ExitStatus.KERNEL,
                hint="look for another program that changes nftables all the time",
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                # One that is stuck in the kernel does not even end by that.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), KILL_PATIENCE)
        assert process.returncode is not None
        return process.returncode, output, errors.decode(errors="replace")


def refusal(errors: str, text: str) -> OperatorError:
    """Return the error for what nft wrote to its standard error about the transaction *text*."""
    match = re.search(r"^(?:/dev/stdin:(\d+):[\d-]+: )?Error: (.*)$", errors, re.MULTILINE)
    reason = match[2] if match else errors.strip()[:_MESSAGE_LIMIT] or "no reason given"
    message = f"nft refused the ruleset: {reason}"
    lines = text.splitlines()
    if match and match[1] and 1 <= int(match[1]) <= len(lines):
        line = lines[int(match[1]) - 1].strip()[:_MESSAGE_LIMIT]
        message = f"nft refused line {match[1]}: {reason}: {line}"
    if "Operation not permitted" in errors:
        return OperatorError(
            message, status=ExitStatus.PERMISSION, hint="run as root, or with CAP_NET_ADMIN"
        )
    if "syntax error" in errors:
        hint = "this nft is too old for the ruleset; version 1.0.2 or newer is needed"
        return OperatorError(message, status=ExitStatus.UNSUPPORTED, hint=hint)
    if "Could not process rule" in errors or "Protocol" in errors:
        hint = (
            "where the kernel lacks the expression (CONFIG_NFT_NAT, NFT_CT, NFT_HASH, NF_TABLES),"
            " use another kernel; else the table was changed meanwhile"
        )
        return OperatorError(message, status=ExitStatus.KERNEL, hint=hint)
    return OperatorError(message, status=ExitStatus.KERNEL)


@final
class Generation:
    """The nftables generation of the namespace that this object was made in."""

    _GETGEN: Final = (10 << 8) | 16
    """``NFNL_SUBSYS_NFTABLES`` and ``NFT_MSG_GETGEN`` (nfnetlink.h, nf_tables.h)."""
    _GENERATION_ID: Final = 1
    """``NFTA_GEN_ID``, a big-endian 32-bit number."""
    _DEADLINE: Final = 1.0

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        except OSError as error:
            raise OperatorError(
                f"no netfilter netlink in this kernel: {error.strerror}",
                status=ExitStatus.UNSUPPORTED,
                hint="load nf_tables, or use a kernel with CONFIG_NF_TABLES",
            ) from error
        self._socket.settimeout(self._DEADLINE)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self) -> int:
        """Return the generation; the kernel answers within the send, so this does not wait."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        try:
            self._socket.send(struct.pack("=IHHII4x", 20, self._GETGEN, 1, self._sequence, 0))
            answer = self._socket.recv(4096)
            while struct.unpack_from("=I", answer, 8)[0] != self._sequence:
                answer = self._socket.recv(4096)
            return self._decode(answer)
        except OSError as error:
            denied = error.errno == errno.EPERM
            raise OperatorError(
                f"nftables does not tell its generation: {error.strerror or error}",
                status=ExitStatus.PERMISSION if denied else ExitStatus.UNSUPPORTED,
                hint="run as root, or with CAP_NET_ADMIN"
                if denied
                else "load nf_tables, or use a kernel with CONFIG_NF_TABLES",
            ) from error

    def _decode(self, answer: bytes) -> int:
        length, kind = struct.unpack_from("=IH", answer)
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", answer, 16)[0]
            raise OSError(code, os.strerror(code))
        position = 20
        while position + 4 <= length:
            size, attribute = struct.unpack_from("=HH", answer, position)
            if attribute == self._GENERATION_ID:
                number: int = struct.unpack_from(">I", answer, position + 4)[0]
                return number
            position += max((size + 3) & ~3, 4)
        raise OSError(errno.EPROTO, "the answer lacks the number")


@final
class Guard:
    """Holds the owned guard table for as long as its netlink socket is open.

    The socket is that of a libnftables context in this process: it needs no second process that
    could die by itself, and the kernel takes the table away when this process ends, however it
    ends. Both calls are synchronous and cost about a millisecond.
    """

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None
        self._context: int | None = None

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether the guard table is in place."""
        return self._context is not None

    def hold(self) -> None:
        """Put the guard table in place, unless it is.

        Raises ``OperatorError``: UNSUPPORTED without libnftables or owner tables (the director
        works on without a guard, and says so), KERNEL where another process holds the table.
        """
        if self._context is not None:
            return
        library = self._library = self._library or _load_library()
        context = library.nft_ctx_new(0)
        if not context:
            raise OperatorError("libnftables has no netlink socket", status=ExitStatus.KERNEL)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, guard_text().encode()):
            errors = library.nft_ctx_get_error_buffer(context).decode(errors="replace")
            library.nft_ctx_free(context)
            raise _guard_refusal(errors)
        self._context = context

    def release(self) -> None:
        """Close the socket; the kernel removes the guard table with it."""
        if self._context is not None and self._library is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None


def _load_library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise OperatorError(
            f"{LIBRARY} is not there: no guard table",
            status=ExitStatus.UNSUPPORTED,
            hint="install libnftables1; without it FULLNAT connections pause"
            " while a foreign `nft flush ruleset` is repaired",
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("buffer_output", "buffer_error", "get_error_buffer", "free"):
        getattr(library, f"nft_ctx_{name}").argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.restype = None
    return library


def _guard_refusal(errors: str) -> OperatorError:
    reason = errors.strip().splitlines()[0] if errors.strip() else "no reason given"
    message = f"the table {FAMILY} {GUARD_TABLE} is refused: {reason}"
    if "Operation not permitted" in errors and os.geteuid() == 0:
        return OperatorError(
            message,
            status=ExitStatus.KERNEL,
            hint="another director in this network namespace holds it",
        )
    return refusal(message, "")
