"""Numbers in files as checks: what they mean, and that a change is seen at once."""

import asyncio
from pathlib import Path

import pytest

from lvskeeper.daemon.file_checks import FileProber, judge
from lvskeeper.health.spec import CheckKind, CheckSpec, FileNumber, Phase, ProbeResult
from lvskeeper.observe.vrrp_events import TrackTroubled
from lvskeeper.units import parse_address

LARGEST = 2**31 - 1


def check(file: FileNumber) -> CheckSpec:
    return CheckSpec(CheckKind.FILE, parse_address("192.0.2.1"), 80, file=file)


def numbers(file: FileNumber, *values: int) -> list[int | str]:
    """Return what each number adds to the weight, or why it takes the server down."""
    results = [judge(file, value) for value in values]
    return [result.detail or result.shift or 0 for result in results]


def test_what_numbers_mean() -> None:
    assert numbers(FileNumber("/x"), 0, 5, -5) == [0, 5, -5]
    assert numbers(FileNumber("/x", 3), 2, -2) == [6, -6]
    assert numbers(FileNumber("/x", 3, reverse=True), 2, -2) == [-6, 6]
    assert numbers(FileNumber("/x", 0), 0, 1, -1) == [0, "the number is 1", "the number is -1"]
    assert numbers(FileNumber("/x", 0, reverse=True), 0, 1) == ["the number is 0", 0]
    assert numbers(FileNumber("/x", LARGEST), 1, -1) == [
        LARGEST, f"the number is -1, times the weight -{LARGEST}",
    ]  # fmt: skip
    assert numbers(FileNumber("/x", 2), LARGEST, 1 - LARGEST // 2) == [LARGEST, 3 - LARGEST]
    assert judge(FileNumber("/x", 0), 1).phase is Phase.STATUS


@pytest.mark.asyncio
async def test_a_change_is_told_at_once_and_the_probe_knows_it(tmp_path: Path) -> None:
    changed: asyncio.Queue[str] = asyncio.Queue()
    told: list[object] = []
    prober = FileProber(changed.put_nowait, told.append)
    file = FileNumber(str(tmp_path / "load"), 2, initial=4)
    assert (await prober.probe(check(file))).phase is Phase.INTERNAL
    prober.follow([check(file)])
    assert await prober.probe(check(file)) == ProbeResult(Phase.DONE, shift=8)
    (tmp_path / "load").write_text("-3\n")
    async with asyncio.timeout(5):
        assert await changed.get() == file.path
    assert await prober.probe(check(file)) == ProbeResult(Phase.DONE, shift=-6)
    assert told == []
    prober.follow([])
    assert (await prober.probe(check(file))).phase is Phase.INTERNAL
    prober.close()


@pytest.mark.asyncio
async def test_a_probe_sees_what_no_news_tell(tmp_path: Path) -> None:
    changed: asyncio.Queue[str] = asyncio.Queue()
    prober = FileProber(changed.put_nowait, lambda _: None)
    file = FileNumber(str(tmp_path / "site" / "state" / "load"))
    for site, number in (("site", 4), ("next", 7)):
        (tmp_path / site / "state").mkdir(parents=True)
        (tmp_path / site / "state" / "load").write_text(f"{number}\n")
    prober.follow([check(file)])
    assert await prober.probe(check(file)) == ProbeResult(Phase.DONE, shift=4)
    (tmp_path / "site").rename(tmp_path / "last")
    (tmp_path / "next").rename(tmp_path / "site")
    assert await prober.probe(check(file)) == ProbeResult(Phase.DONE, shift=7)
    assert changed.get_nowait() == file.path
    (tmp_path / "site" / "state" / "load").write_text("2\n")
    async with asyncio.timeout(5):
        assert await changed.get() == file.path
    prober.close()


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_watched_is_told_and_stands_for_0(tmp_path: Path) -> None:
    told: list[object] = []
    prober = FileProber(lambda _: None, told.append)
    file = FileNumber(str(tmp_path / "none" / "load"))
    prober.follow([check(file)])
    assert await prober.probe(check(file)) == ProbeResult(Phase.DONE, shift=0)
    assert [type(event) for event in told] == [TrackTroubled]
    prober.close()
