"""Pools of local addresses (LIPs): which source addresses a FULLNAT virtual server uses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.ipvs.types import Family
from lvskeeper.units import Address

FIRST_PORT: Final = 1024
LAST_PORT: Final = 65535
"""Source ports that the kernel gives out for a client port above 1023 (``nf_nat_core.c``)."""

PORTS_PER_ADDRESS: Final = LAST_PORT - FIRST_PORT + 1
"""Connections that one LIP can hold toward one real-server address and port."""


@final
@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of LIPs of both families.

    The addresses are sorted and each is kept once, whatever order they come in: the kernel picks a
    LIP by its place in this order, and two directors must pick the same one.
    """

    name: str
    v4: tuple[Address, ...] = ()
    v6: tuple[Address, ...] = ()

    def __post_init__(self) -> None:
        if any(len(address) != 4 for address in self.v4):
            raise ValueError(f"pool {self.name}: v4 holds an address of another family")
        if any(len(address) != 16 for address in self.v6):
            raise ValueError(f"pool {self.name}: v6 holds an address of another family")
        object.__setattr__(self, "v4", tuple(sorted(set(self.v4))))
        object.__setattr__(self, "v6", tuple(sorted(set(self.v6))))

    @classmethod
    def of(cls, name: str, addresses: Iterable[Address]) -> "Pool":
        """Return the pool of *addresses*, told apart by family."""
        every = tuple(addresses)
        return cls(
            name,
            tuple(address for address in every if len(address) == 4),
            tuple(address for address in every if len(address) != 4),
        )

    def addresses(self, family: Family) -> tuple[Address, ...]:
        """Return the LIPs of *family* in the order of their numbers in the hash."""
        return self.v4 if family is Family.INET else self.v6

    def capacity(self, family: Family) -> int:
        """Return how many connections fit toward each real-server address and port.

        Beyond that the kernel drops new connections without a word (``insert_failed`` of
        ``conntrack -S`` grows); a full LIP may drop while others still have ports, because the
        hash does not look at what is free.
        """
        return len(self.addresses(family)) * PORTS_PER_ADDRESS
