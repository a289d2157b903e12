"""The hush: nobody is told that a port is closed while the scheduler of a service is changed.

The kernel takes the old scheduler away, waits until nobody reads it any more (``synchronize_rcu``
in ``ip_vs_edit_service``, some 12 ms), and only then puts the new one in its place. New connections
that come meanwhile find no server, and are answered by ICMP: port unreachable, on which clients
give up. Without that answer they ask again, a second later, and are served.
"""

from types import TracebackType
from typing import Final, final

from lvskeeper.errors import OperatorError
from lvskeeper.fullnat.parts import FAMILY
from lvskeeper.kernel.libnftables import LIBRARY, Context

TABLE: Final = "lvskeeper_hush"

_TEXT: Final = (
    f"table {FAMILY} {TABLE} {{\n"
    "\tflags owner;\n"
    "\tchain out {\n"
    "\t\ttype filter hook output priority 0; policy accept;\n"
    "\t\ticmp type destination-unreachable icmp code port-unreachable drop\n"
    "\t\ticmpv6 type destination-unreachable icmpv6 code port-unreachable drop\n"
    "\t}\n"
    "}\n"
)
"""The table of a socket (``flags owner``, kernel 5.12): whoever dies, it does not stay."""


@final
class Hush:
    """A context manager; where it cannot be had there is none, and clients are refused.

    Both ends are synchronous; the first costs a millisecond or two, the second waits for readers of
    the ruleset like the change itself.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library: Final = library
        self._context: Context | None = None

    def __enter__(self) -> None:
        try:
            context = Context(self._library)
        except OperatorError:
            return
        if context.run(_TEXT):
            context.close()
        else:
            self._context = context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None
