"""A backup: it hears a master, or judges its silence.

Handlers of the table in ``instance.py``; each takes the record, its event and the time.
"""

from math import inf

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.contention import Claim
from lvskeeper.vrrp.record import Record, Renewal
from lvskeeper.vrrp.states import Cause, Occasion, State
from lvskeeper.vrrp.types import Advert


def on_advert(r: Record, event: ev.AdvertHeard, now: float) -> None:
    """Follow a master; let one of lower priority go unheard where we preempt."""
    advert, source, master = event.advert, event.source, r.master
    if advert.priority == 0:
        _hear_resignation(r, source, now)
        return
    if not _is_held_by(r, advert, source, now):
        if r.complains(source):
            r.out.append(fx.LowerDiscarded(r.key, source, advert.priority))
        r.note_claim(advert, source, master, now)
        return
    claim = Claim(source, advert.priority, advert.interval, now)
    r.deadline = now + r.learn(advert.interval)
    r.cause = Cause.SILENCE
    r.wants = r.looked = r.extended = r.joining = False
    r.master = claim
    if master is None or source != master.address:
        r.note_claim(advert, source, master, now)
        if r.watch.current is None:
            before = master.address if master else NO_ADDRESS
            r.out.append(fx.MasterLearned(r.key, source, advert.priority, before))
    elif r.watch.current:
        r.watch.hear(claim, None)
        r.report_end(r.watch.end(now), now)
    elif r.preempt_at == -inf:
        r.renewal = Renewal(advert, source, r.deadline - now)


def _hear_resignation(r: Record, source: Address, now: float) -> None:
    master = r.master
    obeyed = master is None or master.address == source or master.over(now)
    r.out.append(fx.PeerResigned(r.key, source, obeyed))
    r.report_end(r.watch.end(now, gone=source), now)
    if obeyed and not r.wants:
        r.deadline = now + r.skew
        r.cause = Cause.PRIORITY_ZERO


def _is_held_by(r: Record, advert: Advert, source: Address, now: float) -> bool:
    """Whether *advert* comes from a master that we accept."""
    if advert.priority >= r.priority or not r.spec.preempts:
        if r.preempt_at > now:
            r.out.append(fx.PreemptDelayEnded(r.key))
        r.preempt_at = -inf
        return True
    if r.spec.patience == 0:
        return False
    if r.preempt_at == -inf:
        r.preempt_at = now + r.spec.patience
        r.out.append(fx.PreemptDelayStarted(r.key, r.preempt_at))
    elif now >= r.preempt_at and r.is_new(source):
        r.out.append(fx.PreemptDelayEnded(r.key))
    return now < r.preempt_at


def on_timer(r: Record, _event: ev.TimerFired, now: float) -> None:
    """Judge the silence: not before the sockets were read again if we are late."""
    if now < r.deadline or r.looks_again(now):
        return
    if _extends(r, now - r.deadline, now):
        return
    r.known = r.spec.interval
    r.demoted = False
    if r.grouped:
        r.wants = True
        r.deadline = inf
    else:
        _become_master(r, r.cause, now)


def on_stalled(r: Record, event: ev.LoopStalled, now: float) -> None:
    """Wait once more if adverts may have been lost while we could not hear them."""
    if r.deadline != inf and _extends(r, event.by, now):
        r.out.append(fx.Late(r.key, r.state, event.by))


def _extends(r: Record, late: float, now: float) -> bool:
    """Whether the wait for the master is made longer, for once, as we were *late*.

    If the whole machine stood still, its sockets did too: an empty one proves nothing.
    """
    until = now + r.known + r.skew
    if late <= r.known / 2 or until <= r.deadline:
        return False
    if r.extended or r.cause is not Cause.SILENCE:
        return False
    r.extended = True
    r.deadline = until
    r.out.append(fx.Extended(r.key, r.deadline))
    return True


def on_take_over(r: Record, _event: ev.TakeOver, now: float) -> None:
    """Become master with the rest of the sync group, each for its own reason to want it."""
    _become_master(r, r.cause, now)


def _become_master(r: Record, cause: Cause, now: float) -> None:
    r.out += (
        fx.SendAdvert(r.key, r.priority),
        fx.HoldAddresses(r.key),
        fx.Announce(r.key, Occasion.MASTER),
    )
    r.change(State.MASTER, cause, now)
    r.sent = now
    r.deadline = now + r.spec.interval
