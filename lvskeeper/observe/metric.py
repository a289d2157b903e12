"""What a metric is: a name, its meaning, its labels, and how it is read off a snapshot."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, final

from lvskeeper.kernel.ipvs_proc import IpvsTraffic
from lvskeeper.observe.snapshot import Snapshot


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """All that metrics are read off."""

    snapshot: Snapshot
    now: float
    """Monotonic clock of the reading."""
    traffic: IpvsTraffic | None = None
    """What IPVS carries; nothing where it is not loaded."""


@final
class Kind(Enum):
    """Kind of a metric; the value is Prometheus's word."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@final
class Suite(Enum):
    """Whose names these are."""

    OWN = "lvskeeper"
    KEEPALIVED = "keepalived"
    """Those of keepalived-exporter."""
    NODE = "node_exporter"
    """Those of node_exporter's collector ``ipvs``."""


@final
@dataclass(frozen=True, slots=True)
class Histogram:
    """The value of a histogram."""

    counts: tuple[int, ...]
    """By bucket, not summed up; the last one has no bound."""
    total: float


Value: TypeAlias = float | Histogram
Sample: TypeAlias = tuple[tuple[str, ...], Value]
"""The labels, and the value."""


@final
@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. The name of a counter ends in ``_total``."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Facts], Iterable[Sample]]
    kind: Kind = Kind.GAUGE
    suite: Suite = Suite.OWN


NO_LABELS: Final[tuple[str, ...]] = ()


def one(value: float | None) -> Iterable[Sample]:
    """Yield a sample without labels; none where the value is not known."""
    if value is not None:
        yield NO_LABELS, float(value)
