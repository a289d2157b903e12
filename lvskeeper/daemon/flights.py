"""Writes the flight recorder's files: on demand, and a moment after something went wrong."""

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper import __version__
from lvskeeper.daemon.questions import NOTHING_TOLD, AskError, Reply
from lvskeeper.observe.diary import Diary, Entry
from lvskeeper.observe.events import FlightRecorded, UpkeepFailed
from lvskeeper.observe.log import Emit
from lvskeeper.observe.probe_records import FORM, LEVEL
from lvskeeper.units import format_duration

FOLDER: Final = "flight"
"""In the runtime directory."""
MAX_FILES: Final = 8
"""Files that are kept; the oldest goes first."""
AFTERMATH: Final = 3.0
"""Seconds after a trigger that the recording is to have, too."""
GAP: Final = 60.0
"""Seconds between two recordings that nobody asked for."""
YOUNG: Final = 15.0
"""Seconds after a start in which transitions are nothing special."""

TRIGGERS: Final = frozenset(
    {"quorum_lost", "role_died", "role_stuck", "vrrp_contention_began", "director_silent"}
)
"""Events after which a recording is written; a change from or to MASTER is one as well."""


@final
class _Flight(msgspec.Struct, frozen=True):
    """:class:`~lvskeeper.observe.flight.Flight` with the parts as the roles sent them."""

    form: int
    version: str
    reason: str
    time: float
    at: float
    events: tuple[Entry, ...]
    lost: int
    director: msgspec.Raw
    router: msgspec.Raw
    problems: tuple[str, ...]


@final
class Flights:
    """Asks the roles by *ask* (director, then router) for what they kept, and writes it."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[tuple[Reply | AskError, Reply | AskError]]],
        diary: Diary,
        run_dir: Path,
        emit: Emit,
    ) -> None:
        self._ask = ask
        self._diary = diary
        self._folder = run_dir / FOLDER
        self._emit = emit
        self._born = time.monotonic()
        self._written = -GAP
        self._waiting: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def on_entry(self, entry: Entry) -> None:
        """See whether *entry* asks for a recording."""
        now = time.monotonic()
        if self._waiting is not None or now - self._born < YOUNG or now - self._written < GAP:
            return
        if entry.event in TRIGGERS or _is_change_of_master(entry):
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(AFTERMATH, self._begin, entry.event)

    def close(self) -> None:
        """Write no more."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._writing is not None:
            self._writing.cancel()

    async def write(self, reason: str) -> Path:
        """Write a recording; raise :class:`AskError` where the disk does not take it."""
        began = time.monotonic()
        parts: list[msgspec.Raw] = []
        problems: list[str] = []
        for found in await self._ask():
            if isinstance(found, AskError):
                parts.append(NOTHING_TOLD)
                if found.problem.code != "not_found":
                    problems.append(found.problem.message)
            else:
                parts.append(found.body)
        made = _Flight(
            FORM,
            __version__,
            reason,
            time.time(),
            time.monotonic(),
            self._diary.entries(),
            self._diary.lost,
            parts[0],
            parts[1],
            tuple(problems),
        )
        body = gzip.compress(msgspec.json.encode(made), LEVEL)
        path = self._folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(made.time))}.json.gz"
        try:
            self._put(path, body)
        except OSError as error:
            hint = "The runtime directory must be writable and have room; /run is usual."
            raise AskError("internal", f"{path}: {error.strerror}", hint) from error
        took = format_duration(time.monotonic() - began)
        self._emit(FlightRecorded(str(path), reason, len(body), took))
        return path

    def _put(self, path: Path, body: bytes) -> None:
        self._folder.mkdir(mode=0o750, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.touch(mode=0o640)
        draft.write_bytes(body)
        draft.replace(path)
        # This one stays, even where the clock was set back and the others have later names.
        others = sorted(old for old in self._folder.glob("*.json.gz") if old != path)
        for old in others[: 1 - MAX_FILES]:
            old.unlink(missing_ok=True)

    def _begin(self, reason: str) -> None:
        self._waiting = None
        self._written = time.monotonic()
        self._writing = asyncio.get_running_loop().create_task(self._write_quietly(reason))

    async def _write_quietly(self, reason: str) -> None:
        try:
            await self.write(reason)
        except AskError as error:
            self._emit(UpkeepFailed(error.problem.message, error.problem.hint))


def _is_change_of_master(entry: Entry) -> bool:
    if entry.event != "vrrp_state_changed":
        return False
    fields = msgspec.json.decode(entry.fields, type=dict[str, object])
    return "MASTER" in {fields.get("old"), fields.get("new")}
