"""What every state has in common: start, stop, faults, tracking, reload, suspension.

Handlers of the table in ``instance.py``; each takes the record, its event and the time.
"""

from math import inf

from lvskeeper.units import NO_ADDRESS
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.record import Record
from lvskeeper.vrrp.spec import Start
from lvskeeper.vrrp.states import Cause, Fault, FaultKind, State
from lvskeeper.vrrp.timers import OWNER, skew_time


def on_start(r: Record, _event: ev.Started, now: float) -> None:
    """Take part: as backup, or in FAULT, or later if results are missing."""
    r.started = True
    _leave_init(r, now)


def _leave_init(r: Record, now: float) -> None:
    if not r.started:
        return
    if r.all_faults:
        r.out.append(fx.FaultsChanged(r.key, r.all_faults))
        r.change(State.FAULT, Cause.START, now)
    elif not r.verdict.pending:
        r.change(State.BACKUP, Cause.START, now)
        r.deadline = now + _first_wait(r)


def _first_wait(r: Record) -> float:
    spec = r.spec
    if spec.start is Start.BACKUP:
        return r.master_down
    if spec.owner:
        return 0.0
    return spec.interval + skew_time(spec.version, OWNER, spec.interval)


def on_stop(r: Record, _event: ev.Stopped, now: float) -> None:
    """Leave: a master resigns, so that nobody has to wait."""
    if r.state is State.MASTER:
        r.give_up(resign=True)
    if r.started:
        r.started = False
        r.change(State.INIT, Cause.STOP, now)


def on_fault(r: Record, event: ev.Faulted | ev.Healed, now: float) -> None:
    """Add or remove a reason for FAULT."""
    before = r.all_faults
    if isinstance(event, ev.Faulted):
        r.faults.add(event.fault)
    else:
        r.faults.discard(event.fault)
    _settle(r, before, now)


def on_source(r: Record, event: ev.SourceChanged, now: float) -> None:
    """Change our address in adverts; to have none is a fault."""
    before = r.all_faults
    r.source = event.source
    change = r.faults.add if event.source == NO_ADDRESS else r.faults.discard
    change(Fault(FaultKind.NO_SOURCE))
    _settle(r, before, now)


def on_judged(r: Record, event: ev.Judged, now: float) -> None:
    """Take what tracking says now: priority, faults, missing results."""
    before, old, down = r.all_faults, r.priority, r.master_down
    r.verdict = event.verdict
    if r.priority != old:
        r.out.append(fx.PriorityChanged(r.key, r.state, old, event.verdict.priority))
    _shift(r, r.master_down - down, now)
    _settle(r, before, now)


def _shift(r: Record, by: float, now: float) -> None:
    """Let a running master-down timer have the new length, from its old start."""
    if r.state is State.BACKUP and r.deadline != inf:
        r.deadline = max(now, r.deadline + by)


def _settle(r: Record, before: frozenset[Fault], now: float) -> None:
    """Enter or leave FAULT as the reasons say."""
    if r.state is State.INIT:
        _leave_init(r, now)
        return
    faults = r.all_faults
    if faults != before:
        r.out.append(fx.FaultsChanged(r.key, faults))
    if faults and r.state is not State.FAULT:
        if r.state is State.MASTER:
            r.give_up(resign=True)
        r.change(State.FAULT, Cause.FAULT, now)
    elif not faults and r.state is State.FAULT and not r.verdict.pending:
        r.change(State.BACKUP, Cause.HEALED, now)
        r.deadline = now if r.spec.owner else now + r.master_down


def on_reconfigured(r: Record, event: ev.Reconfigured, now: float) -> None:
    """Go on with another configuration; what did not change goes on untouched."""
    down = r.master_down
    learned = r.known != r.spec.interval
    old, r.spec = r.spec, event.spec
    if not learned:
        r.known = event.spec.interval
    r.demoted = r.demoted and event.spec.owner
    r.grouped = event.grouped
    if r.wants and not event.grouped:
        # Nobody to wait for any more
        r.wants, r.deadline = False, now
    _shift(r, r.master_down - down, now)
    if r.state is State.MASTER:
        # Peers get to know the new priority, interval and addresses now, not at the next turn
        r.deadline = now
    if event.spec.source != old.source:
        on_source(r, ev.SourceChanged(event.spec.source), now)
    on_judged(r, ev.Judged(event.verdict), now)


def on_resumed(r: Record, _event: ev.Resumed, now: float) -> None:
    """Come back from a suspension as backup: what we knew is from another time."""
    if r.state is State.MASTER:
        r.give_up(resign=False)
        r.change(State.BACKUP, Cause.RESUMED, now)
    r.wants = False
    r.deadline = now + r.master_down


def ignore(_record: Record, _event: ev.Event, _now: float) -> None:
    """Take an event that may come at any time and means nothing here."""
