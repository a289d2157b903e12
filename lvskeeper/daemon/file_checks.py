"""FILE_CHECK: what the number in a file means for a server, at the moment it changes.

The files are watched as the router role watches its own (:mod:`lvskeeper.daemon.track_files`). A
change makes the checks of the file due. A probe looks at the file all the same: no news tell of a
directory above that is replaced, and none come from some file systems.
"""

from collections.abc import Callable, Iterable
from typing import Final, final

from lvskeeper.daemon.router_spec import TrackedFile
from lvskeeper.daemon.track_files import FileTracks
from lvskeeper.daemon.track_news import FileUnwatched, FileUnwritten, TrackNews
from lvskeeper.health.pool import MAX_WEIGHT
from lvskeeper.health.spec import CheckSpec, FileNumber, Phase, ProbeResult
from lvskeeper.observe import vrrp_events
from lvskeeper.observe.log import Emit
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind


@final
class FileProber:
    """All files of checks. *on_change* gets the path of one whose number is another."""

    def __init__(self, on_change: Callable[[str], None], emit: Emit) -> None:
        self._on_change: Final = on_change
        self._emit: Final = emit
        self._tracks: Final = FileTracks(self._on_status, self._on_news)

    def follow(self, specs: Iterable[CheckSpec]) -> None:
        """Watch the files of *specs*, and no others."""
        files = {spec.file.path: spec.file for spec in specs if spec.file is not None}
        self._tracks.replace(
            [
                TrackedFile(path, path, initial=file.initial, overwrite=file.overwrite)
                for path, file in files.items()
            ]
        )

    def close(self) -> None:
        """Watch nothing any more."""
        self._tracks.close()

    async def probe(self, spec: CheckSpec) -> ProbeResult:
        """Return what the number in the file of *spec* means."""
        assert spec.file is not None
        self._tracks.look(spec.file.path)
        status = self._tracks.statuses().get(TrackId(TrackKind.FILE, spec.file.path))
        if status is None:
            return ProbeResult(Phase.INTERNAL, "the file is not watched")
        return judge(spec.file, status.value)

    def _on_status(self, track: TrackId, _: Status) -> None:
        self._on_change(track.name)

    def _on_news(self, news: TrackNews) -> None:
        match news:
            case FileUnwatched(_, path, reason):
                detail = f"{path} cannot be watched, and is looked at once a second: {reason}"
            case FileUnwritten(_, path, reason):
                detail = f"{path} cannot be written: {reason}"
            case _:
                return  # a change: what follows from it is told
        self._emit(vrrp_events.TrackTroubled("a file of FILE_CHECK", detail))


def judge(file: FileNumber, number: int) -> ProbeResult:
    """Return what *number* means, as in keepalived.

    Times the weight it is added to the server's weight; at -(2^31 - 1) or below the server is down.
    With a weight of 0 any number but 0 takes it down, or 0 itself with *reverse*.
    """
    if file.weight == 0:
        if (number == 0) is file.reverse:
            return ProbeResult(Phase.STATUS, f"the number is {number}")
        return ProbeResult(Phase.DONE)
    shift = number * (-file.weight if file.reverse else file.weight)
    if shift <= -MAX_WEIGHT:
        return ProbeResult(Phase.STATUS, f"the number is {number}, times the weight {shift}")
    return ProbeResult(Phase.DONE, shift=min(shift, MAX_WEIGHT))
