"""What the director keeps of its probes for the flight recorder.

Apart from the file's form, which knows the tape of the VRRP machines: no director needs those.
"""

from typing import final

import msgspec


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
