"""The flight recorder's file: what was told, heard and probed in the last minutes.

It is JSON, compressed by gzip. The part of the router replays: ``lvskeeper replay FILE``.
"""

import gzip
from pathlib import Path
from typing import final

import msgspec

from lvskeeper.observe.diary import Entry
from lvskeeper.observe.probe_records import FORM, DirectorFlight
from lvskeeper.vrrp.tape import Segment


@final
class RouterFlight(msgspec.Struct, frozen=True):
    """What the router kept: all inputs of the VRRP machines."""

    segments: tuple[Segment, ...] = ()


@final
class Flight(msgspec.Struct, frozen=True):
    """The file."""

    form: int
    version: str
    """Of the daemon."""
    reason: str
    time: float
    """Time of day when it was written, in seconds since 1970."""
    at: float
    """Monotonic clock then."""
    events: tuple[Entry, ...]
    lost: int
    """Events that came too fast to be kept."""
    director: DirectorFlight | None
    router: RouterFlight | None
    problems: tuple[str, ...] = ()
    """Why a part is not there."""

    def moment(self, at: float) -> float:
        """Return the time of day of a reading of the monotonic clock."""
        return self.time + at - self.at


def read_flight(path: Path) -> Flight:
    """Return the recording at *path*.

    Raises ``OSError``, and ``ValueError`` where it is none.
    """
    with gzip.open(path) as file:
        flight = msgspec.json.decode(file.read(), type=Flight)
    if flight.form != FORM:
        raise ValueError(f"a recording of form {flight.form}, and not {FORM}")
    return flight
