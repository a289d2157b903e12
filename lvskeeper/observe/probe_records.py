"""The part of the flight recorder's file that is the director's, and what its writer knows.

Apart from the rest, which knows the tape of the VRRP machines: who writes needs none of those.
"""

from typing import Final, final

import msgspec

FORM: Final = 1
"""Number of the file's form."""
LEVEL: Final = 1
"""Of compression: the supervisor has other things to do."""


@final
class ProbeRecord(msgspec.Struct, frozen=True):
    """One probe."""

    at: float
    """Monotonic clock when its result came."""
    check: str
    ok: bool
    phase: str
    detail: str
    took: float


@final
class DirectorFlight(msgspec.Struct, frozen=True):
    """What the director kept: the last results, and further back the last bad ones."""

    latest: tuple[ProbeRecord, ...] = ()
    bad: tuple[ProbeRecord, ...] = ()
