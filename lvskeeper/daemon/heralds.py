"""Tells others what became of instances and of what they track: scripts, pipes, mails, events."""

from collections.abc import Callable
from typing import Final, assert_never, final

import msgspec

from lvskeeper.daemon import track_news as news
from lvskeeper.daemon.channel import Mail, SyncRole
from lvskeeper.daemon.mail import alert
from lvskeeper.daemon.notify import Kind, Notifier
from lvskeeper.daemon.router_spec import Notifies, RouterSpec
from lvskeeper.daemon.script_log import script_events
from lvskeeper.daemon.scripts import ScriptOutcome
from lvskeeper.daemon.seat import Seat
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.events import Event
from lvskeeper.units import format_duration
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.states import Cause, State
from lvskeeper.vrrp.tracking import TrackId, TrackKind

_NONE: Final = Notifies()


@final
class Heralds:
    """*tell* takes events for the log, *send* messages for the supervisor."""

    def __init__(
        self, tell: Callable[[Event], None], send: Callable[[msgspec.Struct], None]
    ) -> None:
        self._tell = tell
        self._send = send
        self._spec = RouterSpec()
        self._mail_settings = msgspec.Raw()
        self._mailed: dict[tuple[Kind, str], State] = {}
        """Of what state of each instance and group the last mail was."""
        self._groups: dict[str, Notifies] = {}
        self._notifier = Notifier(self._on_script, lambda text: tell(told.NotifyTroubled(text)))

    def configure(self, spec: RouterSpec) -> None:
        """Go by *spec* from now on."""
        self._spec = spec
        self._mail_settings = msgspec.Raw(msgspec.json.encode(spec.mail))
        groups = {group.spec.name: group.notifies for group in spec.groups}
        for name, notifies in self._groups.items():
            if name not in groups:
                self._notifier.deleted("GROUP", name, 0, notifies)
        self._groups = groups
        self._notifier.replace(spec)

    async def close(self, patience: float) -> None:
        """Wait for the scripts that run, *patience* seconds at most."""
        await self._notifier.close(patience)

    def on_state(self, seat: Seat, change: fx.StateChanged, *, deleted: bool) -> None:
        """Tell of a transition; *deleted* where a reload removes the instance."""
        name, notifies = seat.name, seat.config.notifies
        cause, priority = change.cause.value, change.priority
        self.tell_sync(name, change.new)
        if change.cause is not Cause.STOP:
            self._notifier.entered("INSTANCE", name, change.new, priority, notifies, cause=cause)
        elif deleted:
            self._notifier.deleted("INSTANCE", name, priority, notifies, cause=cause)
        else:
            self._notifier.stopped("INSTANCE", name, priority, notifies, cause=cause)
        self._mail_state("INSTANCE", name, change.new, notifies)

    def tell_sync(self, name: str, state: State) -> None:
        """Let the IPVS sync daemon follow the instance *name* if it is the one to be followed."""
        if name == self._spec.sync_instance:
            self._send(SyncRole(master=state is State.MASTER))

    def on_group(self, change: fx.GroupChanged) -> None:
        """Tell of the transition of a sync group."""
        notifies = self._groups.get(change.name, _NONE)
        if change.new is State.INIT:
            self._notifier.stopped("GROUP", change.name, 0, notifies)
        else:
            self._notifier.entered("GROUP", change.name, change.new, 0, notifies)
        self._mail_state("GROUP", change.name, change.new, notifies)

    def on_effect(self, seat: Seat, state: State, effect: fx.Effect) -> None:
        """Tell of what is no transition and has a notify of its own."""
        match effect:
            case fx.LowerHeard() if state is State.MASTER:
                priority = seat.config.spec.priority
                self._notifier.lower_heard(seat.name, priority, seat.config.notifies)
            case fx.PriorityChanged(new=new):
                notifies = seat.config.notifies
                self._notifier.priority_changed(seat.name, state, new.total, notifies)
            case _:
                pass

    def _mail_state(self, kind: Kind, name: str, state: State, notifies: Notifies) -> None:
        """Have a mail sent where one is wanted; none says again what the last one said."""
        mail = self._spec.mail
        wanted = notifies.mail and mail.server and mail.recipients
        known = self._mailed.get((kind, name), State.INIT)
        if wanted and state is not known and (mail.faults or state is not State.FAULT):
            self._mailed[kind, name] = state
            subject, body = alert(self._spec.router_id, kind, name, state)
            self._send(Mail(self._mail_settings, subject, body))

    def _on_script(self, outcome: ScriptOutcome) -> None:
        for event in script_events(outcome):
            self._tell(event)

    def on_track(self, item: news.TrackNews) -> None:  # noqa: C901 - one case a kind of news
        """Tell what trackers have to tell."""
        match item:
            case news.ScriptTurned(name, well, end):
                detail = ": ".join(filter(None, (str(end), end.output)))
                self._tell_track(TrackKind.SCRIPT, name, "well" if well else "failed", detail)
            case news.ScriptEndChanged(name, before, end):
                self._tell_track(TrackKind.SCRIPT, name, "", f"now {end}, before {before}")
            case news.ScriptSkipped(name, seconds, started):
                what = "still runs" if started else "is still to be started"
                detail = f"{what} after {format_duration(seconds)}; not started again"
                self._tell_trouble(TrackKind.SCRIPT, name, detail)
            case news.ScriptUnstarted(name, reason):
                self._tell_trouble(TrackKind.SCRIPT, name, f"could not be started: {reason}")
            case news.ScriptHostLost(reason):
                self._tell(told.TrackTroubled("all scripts", f"started anew: {reason}"))
            case news.FileChanged(name, old, new):
                self._tell_track(TrackKind.FILE, name, str(new), f"was {old}")
            case news.FileUnwatched(name, path, reason):
                detail = f"{path} cannot be watched, and is looked at once a second: {reason}"
                self._tell_trouble(TrackKind.FILE, name, detail)
            case news.FileUnwritten(name, path, reason):
                detail = f"{path} cannot be written: {reason}"
                self._tell_trouble(TrackKind.FILE, name, detail)
            case news.QuorumTurned(name, gained, count):
                status = "well" if gained else "failed"
                self._tell_track(TrackKind.PROCESS, name, status, f"{count} processes")
            case news.ProcessesPolled(reason):
                detail = f"counted once a second: {reason}"
                self._tell(told.TrackTroubled("all processes", detail))
            case _:
                assert_never(item)

    def _tell_track(self, kind: TrackKind, name: str, status: str, detail: str) -> None:
        self._tell(told.TrackChanged(str(TrackId(kind, name)), status, detail))

    def _tell_trouble(self, kind: TrackKind, name: str, detail: str) -> None:
        self._tell(told.TrackTroubled(str(TrackId(kind, name)), detail))
