"""Benchmark of element changes in nftables: libnftables in process against the nft program.

In a network namespace of this host; CPU time of this process and of its children.
"""

import asyncio
import resource
from typing import Final

from bench.measure import Row, alternately
from support.fullnat_net import empty_namespace

from lvskeeper.kernel.nft import Nft

CHANGES: Final = 40
"""In one measurement; half of them add, half of them delete."""
ELEMENTS: Final = 5_000
"""That are in the map besides."""


def table() -> str:
    """Return a map as that of FULLNAT."""
    elements = ",".join(f"tcp . 10.0.{n >> 8}.{n & 255} . 80 : accept" for n in range(ELEMENTS))
    return (
        "add table inet lvskeeper\nadd map inet lvskeeper port4"
        " { type inet_proto . ipv4_addr . inet_service : verdict; }\n"
        f"add element inet lvskeeper port4 {{ {elements} }}\n"
    )


def cpu() -> float:
    """Return the CPU seconds of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def measure(client: Nft) -> float:
    """Return the CPU seconds of 1,000 changes."""

    async def change() -> None:
        for _ in range(CHANGES // 2):
            element = "element inet lvskeeper port4 { tcp . 192.0.2.1 . 80"
            await client.apply(f"add {element} : accept }}\n")
            await client.apply(f"delete {element} }}\n")

    before = cpu()
    asyncio.run(change())
    return (cpu() - before) / CHANGES * 1_000


def main() -> None:
    """Print the row."""
    with empty_namespace():
        library, program = Nft(), Nft(library=None)
        asyncio.run(program.apply(table()))
        asyncio.run(library.apply("add table inet warm\n"))
        ours, anchor = alternately(5, lambda: measure(library), lambda: measure(program))
        assert library.in_process
        library.close()
        program.close()
    what = f"1,000 changes of one of {ELEMENTS:,} elements"
    print(Row("N1", what, ours, "nft program", anchor, floor=0.25, aim=0.15), flush=True)


if __name__ == "__main__":
    main()
