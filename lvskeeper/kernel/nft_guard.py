"""The guard table, which keeps connections translated through a foreign ``nft flush ruleset``."""

import os
from types import TracebackType
from typing import Final, Self, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.parts import FAMILY
from lvskeeper.fullnat.ruleset import GUARD_TABLE, guard_cookies_text, guard_text
from lvskeeper.kernel.libnftables import LIBRARY, Context
from lvskeeper.kernel.nft import refusal


@final
class Guard:
    """Holds the owned guard table for as long as its netlink socket is open.

    The socket is that of a libnftables context in this process: it needs no second process that
    could die by itself, and the kernel takes the table away when this process ends, however it
    ends. Both calls are synchronous and cost about a millisecond.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library: Final = library
        self._context: Context | None = None
        self._cookies = False

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

    def hold(self, *, cookies: bool = False) -> None:
        """Put the guard table in place, unless it is; with *cookies* it keeps their hooks as well.

        Raises ``OperatorError``: UNSUPPORTED without libnftables or owner tables (the director
        works on without a guard, and says so), KERNEL where another process holds the table.
        """
        if self._context is None:
            self._context = self._begin()
        if cookies and not self._cookies:
            if errors := self._context.run(guard_cookies_text()):
                raise _guard_refusal(errors)
            self._cookies = True

    def _begin(self) -> Context:
        try:
            context = Context(self._library)
        except OperatorError as error:
            raise OperatorError(
                f"no guard table: {error.message}",
                status=error.status,
                hint="install libnftables1; without it FULLNAT connections pause"
                " while a foreign `nft flush ruleset` is repaired",
            ) from error
        if errors := context.run(guard_text()):
            context.close()
            raise _guard_refusal(errors)
        return context

    def release(self) -> None:
        """Close the socket; the kernel removes the guard table with it."""
        if self._context is not None:
            self._context.close()
            self._context = None
            self._cookies = False


def _guard_refusal(errors: str) -> OperatorError:
    reason = errors.strip().splitlines()[0]
    message = f"the table {FAMILY} {GUARD_TABLE} is refused: {reason}"
    if "Operation not permitted" in errors and os.geteuid() == 0:
        return OperatorError(
            message,
            status=ExitStatus.KERNEL,
            hint="another director in this network namespace holds it",
        )
    return refusal(message, "")
