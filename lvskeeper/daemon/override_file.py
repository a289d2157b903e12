"""What operators ordered, kept in the runtime directory over restarts of the daemon.

Times are those of the monotonic clock, which goes on until the machine boots anew; then, as in
another network namespace, the file counts for nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper.daemon.state import this_kernel, write_whole
from lvskeeper.ipvs.overrides import Book, Order, Subject
from lvskeeper.ipvs.types import DestKey

_FILE: Final = "overrides.json"


@final
@dataclass(frozen=True, slots=True)
class _Held:
    virtual: str
    server: DestKey | None
    order: Order


@final
@dataclass(frozen=True, slots=True)
class _Saved:
    kernel: str
    held: tuple[_Held, ...]


@final
class OverrideFile:
    """Keeps the orders of a :class:`Book` in ``overrides.json``."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / _FILE

    def load(self) -> Book:
        """Return the saved orders; an absent, damaged or foreign file has none."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except (OSError, msgspec.DecodeError):
            return Book()
        if saved.kernel != this_kernel():
            return Book()
        return Book({Subject(one.virtual, one.server): one.order for one in saved.held})

    def save(self, book: Book) -> None:
        """Write the orders of *book*; raise :class:`OperatorError` where that fails."""
        held = tuple(_Held(*subject, order) for subject, order in book.entries.items())
        write_whole(self._path, msgspec.json.encode(_Saved(this_kernel(), held)))
