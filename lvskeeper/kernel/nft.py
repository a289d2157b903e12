"""Access to nftables: transactions, the content of our table, the generation.

Everything works on the network namespace of the process. A small transaction goes through
libnftables in a thread of this process (0.3 ms), all else through the ``nft`` program (10 to 30
ms), whose faults are not ours. :class:`Generation` costs some ten microseconds, so that a table is
listed and compared only after somebody changed something.
"""

import asyncio
import contextlib
import errno
import os
import re
import shutil
import socket
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.content import Content, parse_listing
from lvskeeper.fullnat.parts import FAMILY, TABLE
from lvskeeper.ipvs.wire import NLMSG_ERROR, attribute, error_of, messages
from lvskeeper.kernel.libnftables import LIBRARY, Context
from lvskeeper.kernel.nfnetlink import (
    FIRST,
    INET,
    NETLINK_NETFILTER,
    NFTABLES,
    attributes,
    request,
)

NFT_DEADLINE: Final = 60.0
"""Seconds for one transaction: 5,000 services take a tenth of one, a starved machine far more."""

SMALL_TEXT: Final = 16 << 10
"""Longest transaction in characters that libnftables gets: some 300 elements, a few ms."""

KILL_PATIENCE: Final = 1.0
"""Seconds that an nft gets to end once it is killed."""

SEARCH_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where nft may be when PATH is that of an ordinary user."""

_MESSAGE_LIMIT: Final = 400

_GET_TABLE: Final = NFTABLES << 8 | 1
_GET_GENERATION: Final = NFTABLES << 8 | 16
_GET_OBJECT: Final = NFTABLES << 8 | 19
"""Numbers of nf_tables.h, like those that follow."""
_TABLE_NAME: Final = 1
"""``NFTA_TABLE_NAME`` and ``NFTA_OBJ_TABLE``, a string with its final zero."""
_OBJECT_NAME: Final = 2
_OBJECT_TYPE: Final = 3
_OBJECT_DATA: Final = 4
_COUNTER: Final = 1
"""``NFT_OBJECT_COUNTER``."""
_COUNTER_PACKETS: Final = 2
"""``NFTA_COUNTER_PACKETS``, a big-endian 64-bit number."""
_GENERATION_ID: Final = 1
"""``NFTA_GEN_ID``, a big-endian 32-bit number."""


@final
class Nft:
    """Runs nft transactions one at a time; without a *library* all by the nft program.

    Raises ``OperatorError`` (UNSUPPORTED) where the nft program is not there. A library that is not
    there, or does not work, is done without.
    """

    def __init__(self, library: str | None = LIBRARY) -> None:
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
        self._library = library
        self._context: Context | None = None

    @property
    def in_process(self) -> bool:
        """Whether small transactions go through libnftables, as far as is known."""
        return self._library is not None

    def close(self) -> None:
        """Close the netlink sockets."""
        self._generation.close()
        self._context = None

    def table_is_there(self) -> bool:
        """Return whether our table exists, whatever it holds."""
        return self._generation.has_table(TABLE)

    def generation(self) -> int:
        """Return the number of the last transaction in this namespace, whoever made it."""
        return self._generation.read()

    def counted(self, name: str) -> int | None:
        """Return the packets of a named counter of our table, ``None`` where it is not there."""
        return self._generation.counted(TABLE, name)

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
            if len(text) > SMALL_TEXT or not await self._transact_here(text):
                before = self.generation()
                await self._transact(text)
            after = self.generation()
            return after if after - before == 1 else before

    async def read(self, patience: float | None = None) -> Content | None:
        """Return what our table holds, ``None`` where there is no such table.

        nft begins anew with every transaction that comes meanwhile, whoever makes it: while these
        come without a pause, a big table cannot be listed. Nobody else waits for it, and it raises
        ``OperatorError`` after *patience* seconds, or those that a transaction may take.
        """
        # All as numbers: marks may have names here, and for that of a protocol nft opens
        # /etc/protocols, once an element.
        arguments = ("-j", "-n", "list", "table", FAMILY, TABLE)
        status, output, errors = await self._run(arguments, b"", patience)
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

    async def _transact_here(self, text: str) -> bool:
        """Carry out *text* through the library and return whether that is done.

        Where not, nothing has been changed. What the library refuses is left to the program: it
        names the line, and it is right where a transaction of somebody else crossed ours.
        """
        context = self._context or self._make_context()
        # Whatever ends the wait: a thread may still use the context, which goes after that.
        self._context = None
        if context is None:
            return False
        # A thread, for the kernel makes us wait while it takes a big foreign transaction.
        work = asyncio.get_running_loop().run_in_executor(None, context.run, text)
        try:
            await asyncio.wait({work}, timeout=NFT_DEADLINE)
        finally:
            if not work.done():  # somebody gave up; the next transaction is to come after this one
                await asyncio.wait({work}, timeout=KILL_PATIENCE)
        if not work.done():
            raise _too_slow("the kernel", NFT_DEADLINE)
        errors = work.result()
        if not errors:
            self._context = context
        return not errors

    def _make_context(self) -> Context | None:
        if self._library is None:
            return None
        try:
            return Context(self._library)
        except OperatorError:
            self._library = None
            return None

    async def _transact(self, text: str, *options: str) -> None:
        status, _, errors = await self._run((*options, "-f", "-"), text.encode())
        if status:
            raise refusal(errors, text)

    async def _run(
        self, arguments: tuple[str, ...], data: bytes, patience: float | None = None
    ) -> tuple[int, bytes, str]:
        deadline = NFT_DEADLINE if patience is None else patience
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", SEARCH_PATH)},
        )
        try:
            async with asyncio.timeout(deadline):
                output, errors = await process.communicate(data)
        except TimeoutError:
            raise _too_slow("nft", deadline) from None
        finally:
            if process.returncode is None:
                process.kill()
                # One that is stuck in the kernel does not even end by that.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), KILL_PATIENCE)
        assert process.returncode is not None
        return process.returncode, output, errors.decode(errors="replace")


def _too_slow(who: str, deadline: float) -> OperatorError:
    return OperatorError(
        f"{who} did not answer within {deadline:.0f} seconds",
        status=ExitStatus.KERNEL,
        hint="look for another program that changes nftables all the time",
    )


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
    """The nftables generation of the namespace that this object was made in, and its tables."""

    _DEADLINE: Final = 1.0

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
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
        try:
            answer = self._ask(_GET_GENERATION)
        except OSError as error:
            raise _untold("generation", error) from error
        return int.from_bytes(answer[_GENERATION_ID], "big")

    def has_table(self, name: str) -> bool:
        """Return whether there is a table *name* of the inet family; this does not wait either."""
        try:
            wanted = attribute(_TABLE_NAME, name.encode() + b"\0")
            self._ask(_GET_TABLE, INET, wanted)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _untold("tables", error) from error
        return True

    def counted(self, table: str, name: str) -> int | None:
        """Return the packets of a named counter, ``None`` where it is not there; it never waits."""
        wanted = (
            attribute(_TABLE_NAME, table.encode() + b"\0")
            + attribute(_OBJECT_NAME, name.encode() + b"\0")
            + attribute(_OBJECT_TYPE, _COUNTER.to_bytes(4, "big"))
        )
        try:
            answer = self._ask(_GET_OBJECT, INET, wanted)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _untold("counters", error) from error
        data = answer.get(_OBJECT_DATA, b"")
        packets = attributes(data, 0, len(data)).get(_COUNTER_PACKETS)
        return None if packets is None else int.from_bytes(packets, "big")

    def _ask(self, kind: int, family: int = 0, body: bytes = b"") -> dict[int, bytes]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._socket.send(request(kind, 0, self._sequence, family, body))
        while True:
            answer = self._socket.recv(4096)
            for told, sequence, start, end in messages(answer):
                if sequence != self._sequence:
                    continue  # left over from a request that was given up
                if told == NLMSG_ERROR:
                    code = error_of(answer, start, end)
                    raise OSError(code, os.strerror(code))
                return attributes(answer, start + FIRST, end)


def _untold(what: str, error: OSError) -> OperatorError:
    denied = error.errno == errno.EPERM
    return OperatorError(
        f"nftables does not tell its {what}: {error.strerror or error}",
        status=ExitStatus.PERMISSION if denied else ExitStatus.UNSUPPORTED,
        hint="run as root, or with CAP_NET_ADMIN"
        if denied
        else "load nf_tables, or use a kernel with CONFIG_NF_TABLES",
    )
