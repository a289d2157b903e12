"""The table of quorums and sorry servers, played by the pure machines alone."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from support import quorum_cases as q
from support.health_page import page

from lvskeeper.daemon.desired import entries, make_pool, server_key
from lvskeeper.daemon.loader import load_file
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.health.pool import (
    Pool,
    PoolEffect,
    QuorumGained,
    QuorumLost,
    QuorumMissing,
    QuorumPresent,
    ServerDown,
    ServerUp,
)
from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult
from lvskeeper.ipvs.types import DestKey

PAGE = Path(__file__).parents[2] / "docs" / "keepalived-health.md"
GOOD, BAD = ProbeResult(Phase.DONE), ProbeResult(Phase.CONNECT, "connection refused")


def spec_of(number: int, case: q.Case, index: int, folder: Path) -> VirtualServerSpec:
    file = folder / "case.conf"
    file.write_text(q.block(number, case, index, folder))
    loaded = load_file(str(file))
    assert not loaded.errors, loaded.errors
    (virtual,) = msgspec.json.decode(loaded.spec, type=DirectorSpec).virtual_servers
    return virtual


def told(number: int, effects: Iterable[PoolEffect[DestKey]], sorry: bool) -> Iterator[str]:
    for effect in effects:
        match effect:
            case ServerUp(key=key):
                yield f"+{q.name_of(number, key.port)}"
            case ServerDown(key=key):
                yield f"-{q.name_of(number, key.port)}"
            case QuorumGained() | QuorumPresent():
                yield "+VS"
            case QuorumLost():
                yield "-VS"
            case QuorumMissing() if sorry:
                yield "-VS"
            case _:
                pass


def answer(number: int, check: CheckSpec, well: dict[str, int], name: str) -> ProbeResult:
    if check.kind is CheckKind.MISC:
        status = well.get(name, 1)
        if status == 1:
            return BAD
        return ProbeResult(Phase.DONE, weight=status - 2 if status else None)
    asked = "a2" if check.port == q.port(number, "a2") else name
    return GOOD if asked in well else BAD


def probe_all(
    number: int, pool: Pool[DestKey], well: dict[str, int], now: float
) -> Iterator[PoolEffect[DestKey]]:
    """Ask every check often enough for a decision."""
    for check_id, checker in list(pool.checkers.items()):
        name = q.name_of(number, check_id.key.port)
        for _ in range(1 + checker.spec.retry):
            pool.on_start(check_id, now)
            result = answer(number, check_id.target, well, name)
            yield from pool.on_result(check_id, result, now)


def play(number: int, case: q.Case, folder: Path) -> Iterator[str]:
    pool: Pool[DestKey] | None = None
    virtual: VirtualServerSpec | None = None
    for index, step in enumerate(case.steps):
        now = float(index * 10)
        before, known = pool, virtual
        virtual = spec_of(number, case, index, folder)
        news: list[str] = []
        if known != virtual:
            pool = make_pool(virtual, now)
            effects = pool.carry(before) if before else pool.start()
            keys = {server_key(server) for server in virtual.real_servers}
            gone = (
                [key for key, up in before.up.items() if up and key not in keys] if before else []
            )
            news += [f"-{q.name_of(number, key.port)}" for key in gone]
            news += told(number, effects, virtual.sorry_server is not None)
        assert pool is not None
        if step.here is not False:
            found = probe_all(number, pool, q.well(step), now)
            news += told(number, found, virtual.sorry_server is not None)
        (entry,) = entries(virtual, pool.serving(), None).values()
        table = {
            q.name_of(number, key.port): q.member(item.weight, item.upper, item.lower)
            for key, item in entry.destinations.items()
        }
        yield q.outcome(table, news)


@pytest.mark.parametrize(
    ("number", "case"), [*enumerate(q.CASES)], ids=[case.title for case in q.CASES]
)
def test_outcomes_are_those_of_the_table(number: int, case: q.Case, tmp_path: Path) -> None:
    assert tuple(play(number, case, tmp_path)) == case.expected


def test_the_page_is_up_to_date() -> None:
    if os.environ.get("LVSKEEPER_GOLDEN") == "write":
        PAGE.write_text(page())
    assert PAGE.read_text() == page()
