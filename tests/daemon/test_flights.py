"""When the flight recorder writes by itself, and what it keeps."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from support.supervised import GOOD, running

from lvskeeper.daemon import flights as room
from lvskeeper.daemon.flights import Flights
from lvskeeper.daemon.questions import AskError, Reply
from lvskeeper.observe.diary import Diary, Entry, ToldEvent
from lvskeeper.observe.flight import RouterFlight, read_flight

if TYPE_CHECKING:
    from lvskeeper.observe.events import Event

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "AFTERMATH", 0.01)
    monkeypatch.setattr(room, "YOUNG", 0.0)


class Bench:
    def __init__(self, run_dir: Path) -> None:
        self.told: list[Event] = []
        self.came = asyncio.Event()
        self.diary = Diary()
        self.folder = run_dir / "flight"
        self.flights = Flights(self.parts, self.diary, run_dir, self.tell)

    async def parts(self) -> tuple[Reply | AskError, Reply | AskError]:
        router = msgspec.Raw(msgspec.json.encode(RouterFlight()))
        return AskError("timed_out", "the director role did not answer"), Reply(1, router)

    def happen(self, name: str, **fields: str) -> Entry:
        event = ToldEvent(1.0, 2.0, "notice", name, msgspec.Raw(msgspec.json.encode(fields)))
        entry = self.diary.note("router", event)
        self.flights.on_entry(entry)
        return entry

    def tell(self, event: "Event") -> None:
        self.told.append(event)
        self.came.set()

    async def file(self) -> Path:
        async with asyncio.timeout(10):
            await self.came.wait()
        (found,) = self.folder.glob("*.gz")
        return found


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vrrp_state_changed", {"old": "BACKUP", "new": "MASTER"}),
        ("vrrp_state_changed", {"old": "MASTER", "new": "FAULT"}),
        ("quorum_lost", {}),
        ("role_died", {}),
    ],
)
async def test_it_writes_after_what_is_worth_it(
    tmp_path: Path, name: str, fields: dict[str, str]
) -> None:
    bench = Bench(tmp_path)
    entry = bench.happen(name, **fields)
    flight = read_flight(await bench.file())
    assert (flight.reason, flight.events) == (name, (entry,))
    assert flight.director is None
    assert flight.router == RouterFlight()
    assert flight.problems == ("the director role did not answer",)
    assert [event.NAME for event in bench.told] == ["flight_recorded"]


async def test_other_events_and_the_same_again_soon_write_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.happen("vrrp_state_changed", old="INIT", new="BACKUP")
    bench.happen("link_changed")
    await asyncio.sleep(0.05)
    assert not bench.folder.exists()
    bench.happen("quorum_lost")
    await bench.file()
    bench.happen("quorum_lost")
    await asyncio.sleep(0.05)
    assert len(bench.told) == 1


async def test_the_start_is_nothing_special(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "YOUNG", 60.0)
    bench = Bench(tmp_path)
    bench.happen("vrrp_state_changed", old="BACKUP", new="MASTER")
    await asyncio.sleep(0.05)
    assert not bench.folder.exists()


async def test_only_the_newest_files_are_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.folder.mkdir()
    for number in range(10):
        (bench.folder / f"20200101-00000{number}.json.gz").touch()
    path = await bench.flights.write("a test")
    kept = sorted(bench.folder.iterdir())
    assert len(kept) == room.MAX_FILES
    assert kept[-1] == path
    assert path.stat().st_mode & 0o777 == 0o640


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.folder.touch()  # no directory
    bench.happen("quorum_lost")
    async with asyncio.timeout(10):
        await bench.came.wait()
    assert [event.NAME for event in bench.told] == ["upkeep_failed"]


async def test_the_death_of_a_role_is_recorded_by_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.desk.ROLE_LIMIT", 0.2)
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        pid = int((tmp_path / "applied").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        await daemon.until("flight_recorded")
        (file,) = (tmp_path / "flight").glob("*.gz")
        flight = read_flight(file)
    assert flight.reason == "role_died"
    told = [(entry.role, entry.event) for entry in flight.events]
    assert ("supervisor", "daemon_started") in told
    assert ("supervisor", "role_died") in told
    # What is there of the director in its first moments has no answer to give
    assert flight.director is None


async def test_a_clock_that_was_set_back_costs_no_recording(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.folder.mkdir()
    for second in range(room.MAX_FILES):
        (bench.folder / f"20990101-00000{second}.json.gz").touch()
    assert (await bench.flights.write("asked for")).exists()
    assert len([*bench.folder.glob("*.gz")]) == room.MAX_FILES
