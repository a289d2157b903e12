"""The recorded exchanges of tests/golden/ipvs, message by message."""

import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lvskeeper.ipvs.dialect import FORK_V2, FORK_V3, GENL_ID_CTRL, MAINLINE, Traits
from lvskeeper.ipvs.encode import NESTED, Command
from lvskeeper.ipvs.wire import NLMSG_ERROR, messages

FOLDER = Path(__file__).parents[1] / "golden" / "ipvs"
CAPTURES = {
    "fork-v2-ipvsadm": FORK_V2,
    "fork-v3-ipvsadm": FORK_V3,
    "fork-v3-est-timeout": FORK_V3,
    "mainline-ipvsadm": MAINLINE,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message, and the command that it belongs to."""

    argv: tuple[str, ...]
    to_kernel: bool
    data: bytes
    traits: Traits

    @property
    def kind(self) -> int:
        return int.from_bytes(self.data[4:6], "little")

    @property
    def is_ipvs(self) -> bool:
        return self.kind > GENL_ID_CTRL

    @property
    def command(self) -> int:
        return self.data[16] if self.is_ipvs else 0

    @property
    def nested(self) -> frozenset[int]:
        """Which top-level attributes are nests."""
        if self.kind == GENL_ID_CTRL:
            return frozenset({6, 7})
        if self.kind <= NLMSG_ERROR + 1 or self.command == Command.SET_INFO:
            return frozenset()
        return NESTED


def _lines(name: str) -> Iterator[dict[str, object]]:
    with lzma.open(FOLDER / f"{name}.jsonl.xz", "rt") as file:
        for line in file:
            yield json.loads(line)


@cache
def recorded(name: str) -> tuple[Recorded, ...]:
    """Return all messages of a capture in order."""
    found = []
    for line in _lines(name):
        if line["dir"] == "exit":
            continue
        data = bytes.fromhex(str(line["hex"]))
        argv = line["argv"]
        assert isinstance(argv, list)
        for _, _, start, end in messages(data):
            found.append(
                Recorded(tuple(argv), line["dir"] == "to_kernel", data[start:end], CAPTURES[name])
            )
    return tuple(found)


def everything() -> list[Recorded]:
    """Return the messages of all captures."""
    return [message for name in CAPTURES for message in recorded(name)]
