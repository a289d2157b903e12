"""Tracked files of the router role: the number in each, at the moment it changes.

The directory is watched rather than the file, so that a file may be replaced, deleted and made.
Where links lead to a file, the directory of each link is watched too. What cannot be watched,
as its directory is missing, is looked at once a second. The files are read in the role's loop:
they have to be on a local file system.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.daemon.children import explain
from lvskeeper.daemon.router_spec import TrackedFile
from lvskeeper.daemon.track_news import FileChanged, FileUnwatched, FileUnwritten, TrackNews
from lvskeeper.kernel.inotify import Change, Inotify
from lvskeeper.vrrp.trackers import file_status
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind

MAX_CONTENT: Final = 64
"""Bytes of a file that are read."""
MAX_LINKS: Final = 16
"""Links that are followed from a path."""
LOOK_EVERY: Final = 1.0
"""Seconds between looks at what cannot be watched."""
EMPTY_HOLD: Final = 0.05
"""Seconds that an emptied file keeps its number: who rewrites a file cuts it to nothing first."""


@final
@dataclass(slots=True)
class _Track:
    spec: TrackedFile
    id: TrackId
    status: Status
    watches: frozenset[int] = frozenset()
    names: frozenset[tuple[int, str]] = frozenset()
    """Watches with the names in them that lead to the file."""
    trouble: str = ""
    """Why it is not watched, as told."""
    hold: asyncio.TimerHandle | None = None


@final
class FileTracks:
    """All tracked files. *on_status* gets each change of a status after :meth:`replace`."""

    def __init__(
        self,
        on_status: Callable[[TrackId, Status], None],
        on_news: Callable[[TrackNews], None],
    ) -> None:
        self._on_status: Final = on_status
        self._on_news: Final = on_news
        self._tracks: dict[str, _Track] = {}
        self._inotify: Inotify | None = None
        self._watched: set[int] = set()
        self._refused = ""
        """Why there is no inotify."""
        self._timer: asyncio.TimerHandle | None = None

    def replace(self, files: Sequence[TrackedFile]) -> None:
        """Track *files*. Initial values are written for new and changed ones only."""
        wanted = {file.name: file for file in files}
        for name, track in list(self._tracks.items()):
            if wanted.get(name) != track.spec:
                self._drop_hold(track)
                del self._tracks[name]
        if wanted and self._inotify is None:
            self._open()
        for name, file in wanted.items():
            if name in self._tracks:
                continue
            self._initialise(file)
            track = _Track(file, TrackId(TrackKind.FILE, name), Status(well=True))
            self._tracks[name] = track
            # Watched first: a change between the two is then an event.
            self._watch(track)
            track.status = file_status(_content(file.path) or "")
        self._forget_unused()
        self._arm()
        if not wanted:
            self.close()

    def statuses(self) -> dict[TrackId, Status]:
        """Return what is known now."""
        return {track.id: track.status for track in self._tracks.values()}

    def look(self, name: str) -> None:
        """Look at the file *name* now, for what no news tell.

        That is a directory above its own that was replaced, or a file system that tells nothing.
        """
        track = self._tracks.get(name)
        if track is None:
            return
        before = track.watches
        self._rewatch(track)
        if track.watches != before:
            self._forget_unused()
            self._arm()

    def close(self) -> None:
        """Watch nothing any more."""
        for track in self._tracks.values():
            self._drop_hold(track)
        self._tracks.clear()
        self._arm()
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def _open(self) -> None:
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._refused = explain(error)
        else:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._inotify.fileno(), self._on_events, self._inotify)

    def _initialise(self, file: TrackedFile) -> None:
        if file.initial is None:
            return
        path = Path(file.path)
        try:
            if file.overwrite or not path.exists():
                # Written at once and in one piece, never through a name that is no file.
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
                descriptor = os.open(path, flags, 0o644)
                try:
                    os.write(descriptor, b"%d\n" % file.initial)
                finally:
                    os.close(descriptor)
        except (OSError, ValueError) as error:
            self._on_news(FileUnwritten(file.name, file.path, explain(error)))

    def _watch(self, track: _Track) -> None:
        """Watch all directories that lead to the file, as they are now."""
        watches: dict[int, None] = {}
        names = []
        trouble = ""
        for directory, name in _steps(track.spec.path):
            if self._inotify is None:
                trouble = self._refused
            else:
                try:
                    watch = self._inotify.watch(directory)
                except (OSError, ValueError) as error:
                    trouble = explain(error)
                else:
                    watches[watch] = None
                    names.append((watch, name))
            if trouble:
                if trouble != track.trouble:
                    self._on_news(FileUnwatched(track.spec.name, directory, trouble))
                break
        track.trouble = trouble
        track.watches, track.names = frozenset(watches), frozenset(names)

    def _forget_unused(self) -> None:
        if self._inotify is None:
            return
        used = {watch for track in self._tracks.values() for watch in track.watches}
        for watch in self._watched - used:
            self._inotify.forget(watch)
        self._watched = used

    def _on_events(self, inotify: Inotify) -> None:
        touched = set()
        lost: set[int] = set()
        everything = False
        for event in inotify.read():
            touched.add((event.watch, event.name))
            if event.change & Change.OVERFLOW:
                everything = True
            elif event.change & (Change.IGNORED | Change.DELETE_SELF | Change.MOVE_SELF):
                lost.add(event.watch)
        for track in self._tracks.values():
            if everything or track.watches & lost or not touched.isdisjoint(track.names):
                self._rewatch(track)
        self._forget_unused()
        self._arm()

    def _rewatch(self, track: _Track) -> None:
        self._watch(track)
        self._read(track)

    def _read(self, track: _Track) -> None:
        self._drop_hold(track)
        content = _content(track.spec.path)
        if content is not None and not content.strip() and track.status.value:
            loop = asyncio.get_running_loop()
            track.hold = loop.call_later(EMPTY_HOLD, self._believe, track)
            return
        self._take(track, content)

    def _believe(self, track: _Track) -> None:
        track.hold = None
        self._take(track, _content(track.spec.path))

    def _take(self, track: _Track, content: str | None) -> None:
        status = file_status(content or "")
        if status != track.status:
            old, track.status = track.status, status
            self._on_news(FileChanged(track.spec.name, old.value, status.value))
            self._on_status(track.id, status)

    @staticmethod
    def _drop_hold(track: _Track) -> None:
        if track.hold is not None:
            track.hold.cancel()
            track.hold = None

    def _arm(self) -> None:
        """Look again in a second if anything is not watched."""
        needed = any(track.trouble for track in self._tracks.values())
        if needed and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)
        elif not needed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for track in self._tracks.values():
            if track.trouble:
                self._rewatch(track)
        self._forget_unused()
        self._arm()


def _content(path: str) -> str | None:
    """Return the beginning of a regular file; ``None`` where there is none to be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return os.read(descriptor, MAX_CONTENT).decode(errors="replace")
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return None


def _steps(path: str) -> list[tuple[str, str]]:
    """Return the directories, with a name in each, whose change can lead *path* elsewhere.

    These are the links on the way, a link among its directories included, and the file itself.
    """
    steps = []
    done = "/"
    todo = [part for part in path.split("/") if part not in {"", "."}][::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = os.path.dirname(done)  # noqa: PTH120 - text, not a file
            continue
        here = f"{done.rstrip('/')}/{part}"
        try:
            target = os.readlink(here) if links < MAX_LINKS else ""  # noqa: PTH115 - as text
        except (OSError, ValueError):
            target = ""
        if target or not todo:
            steps.append((done, part))
        if target:
            links += 1
            todo += [name for name in target.split("/") if name not in {"", "."}][::-1]
            done = "/" if target.startswith("/") else done
        else:
            done = here
    return steps
