"""What the router role tracks beside links: scripts, files and processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from lvskeeper.daemon.router_spec import TrackedFile, TrackedProcess, TrackedScript
from lvskeeper.daemon.track_files import FileTracks
from lvskeeper.daemon.track_news import TrackNews
from lvskeeper.daemon.track_processes import ProcessTracks
from lvskeeper.daemon.track_scripts import ScriptTracks
from lvskeeper.vrrp.tracking import Status, TrackId


@final
class Trackers:
    """All trackers in one loop.

    *on_status* gets each change of a status; what :meth:`replace` makes of a new one is found in
    :meth:`statuses` afterwards. *on_news* gets what operators are to be told.
    """

    def __init__(
        self,
        on_status: Callable[[TrackId, Status], None],
        on_news: Callable[[TrackNews], None],
    ) -> None:
        self._scripts: Final = ScriptTracks(on_status, on_news)
        self._files: Final = FileTracks(on_status, on_news)
        self._processes: Final = ProcessTracks(on_status, on_news)

    async def replace(
        self,
        scripts: Sequence[TrackedScript],
        files: Sequence[TrackedFile],
        processes: Sequence[TrackedProcess],
    ) -> None:
        """Track these, at the start and at a reload.

        What did not change keeps its state, the row of its results and its status; what changed
        starts anew, and what is gone is stopped. Files and processes have a status at once, scripts
        after their first run.
        """
        self._files.replace(files)
        await self._processes.replace(processes)
        await self._scripts.replace(scripts)

    def statuses(self) -> Mapping[TrackId, Status]:
        """Return what is known of each tracked thing now."""
        return {
            **self._scripts.statuses(),
            **self._files.statuses(),
            **self._processes.statuses(),
        }

    async def close(self) -> None:
        """Track nothing any more; scripts that run are ended, within 5 seconds at worst."""
        self._files.close()
        self._processes.close()
        await self._scripts.close()
