"""Ranges of addresses."""

from collections.abc import Iterator

from lvskeeper.units import Address


def expand(first: Address, count: int) -> Iterator[Address]:
    """Yield *count* addresses from *first* on."""
    yield first
    start = int.from_bytes(first)
    for step in range(1, count):
        yield Address((start + step).to_bytes(len(first)))
