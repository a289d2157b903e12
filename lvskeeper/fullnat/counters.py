"""What SYN cookies were counted to do, and how fast: stock kernels and the FULLNAT kernels.

The files are ``/proc/net/stat/synproxy`` (``nf_synproxy_core.c``, a network namespace) and
``/proc/net/ip_vs_ext_stats`` (the FULLNAT kernels). Both have a column or a line per CPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

MAX_RATE_GAP: Final = 60.0
"""Seconds between two looks after which a rate would say nothing of now."""

_SYNPROXY_FIRST: Final = "entries"
_WRAP: Final = 1 << 32
"""The counters of stock kernels are 32 bits wide on each CPU."""

_RECEIVED: Final = ("syn_received", "synproxy_syn_cnt")
_VALID: Final = ("cookie_valid", "synproxy_ok_ack")
_INVALID: Final = ("cookie_invalid", "synproxy_bad_ack")


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of one look, and what a second brought since the look before."""

    at: float
    """When it was taken, on the monotonic clock."""
    values: Mapping[str, int] = field(default_factory=dict)
    """By the kernel's own names, summed over the CPUs; counted since boot or module load."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Per second; empty at the first look, and after a gap of :data:`MAX_RATE_GAP`."""

    @property
    def syns(self) -> int:
        """SYNs that were answered with a cookie."""
        return _first(self.values, _RECEIVED)

    @property
    def handshakes(self) -> int:
        """Cookies that came back: handshakes of real clients."""
        return _first(self.values, _VALID)

    @property
    def forged(self) -> int:
        """ACKs whose cookie was wrong or too old."""
        return _first(self.values, _INVALID)


def _first(values: Mapping[str, int], names: tuple[str, ...]) -> int:
    return next((values[name] for name in names if name in values), 0)


def snapshot(values: Mapping[str, int], now: float, before: Snapshot | None = None) -> Snapshot:
    """Return *values* as of *now* (seconds, monotonic), with the rates since *before*.

    A counter that went back by little has wrapped; one that is far behind was begun anew.
    """
    passed = now - before.at if before is not None else 0.0
    if before is None or not 0 < passed <= MAX_RATE_GAP:
        return Snapshot(now, dict(values))
    rates = {
        name: growth(before.values[name], value) / passed
        for name, value in values.items()
        if name in before.values
    }
    return Snapshot(now, dict(values), rates)


def growth(before: int, after: int) -> int:
    """Return by how much a counter grew, over a wrap at 32 bits and a new begin at 0."""
    if after >= before:
        return after - before
    wrapped = (after - before) % _WRAP
    return wrapped if wrapped < _WRAP // 2 else after


def parse_synproxy(text: str) -> dict[str, int]:
    """Return the counters of ``/proc/net/stat/synproxy``, nothing where it is no such file.

    A line of hexadecimal numbers for each CPU stands below a line of names.
    """
    head, *lines = text.splitlines() or [""]
    names = head.split()
    if names[:1] != [_SYNPROXY_FIRST]:
        return {}
    sums = dict.fromkeys(names[1:], 0)
    for line in lines:
        # A newer kernel may have more columns, never fewer names than numbers.
        for name, word in zip(names[1:], line.split()[1:], strict=False):
            sums[name] += _number(word, 16)
    return sums


def parse_extended(text: str) -> dict[str, int]:
    """Return the counters of ``/proc/net/ip_vs_ext_stats``, nothing where it is no such file.

    A line is a name, a colon that may touch it, and a decimal number for each CPU; wide numbers
    break the grid of columns, so only the white space counts.
    """
    sums: dict[str, int] = {}
    for line in text.splitlines():
        name, colon, numbers = line.partition(":")
        if colon and (name := name.strip()):
            sums[name] = sum(_number(word, 10) for word in numbers.split())
    return sums


def _number(word: str, base: int) -> int:
    try:
        return int(word, base)
    except ValueError:
        return 0
