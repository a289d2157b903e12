"""A master: it advertises in time, and settles with whoever else claims its addresses.

Handlers of the table in ``instance.py``; each takes the record, its event and the time.
"""

from typing import Final

from lvskeeper.units import Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.contention import Claim
from lvskeeper.vrrp.record import Record
from lvskeeper.vrrp.states import Cause, Occasion, State
from lvskeeper.vrrp.timers import OWNER, master_down_time
from lvskeeper.vrrp.types import Advert

OWNER_PATIENCE_ADVERTS: Final = 2
OWNER_PATIENCE_INTERVALS: Final = 1.2
"""How long an owner bears another one before it goes down to 254 (keepalived)."""


def on_advert(r: Record, event: ev.AdvertHeard, now: float) -> None:
    """Yield to a stronger master, insist against a weaker one."""
    advert, source = event.advert, event.source
    if r.spec.owner and r.spec.owner_ignore_adverts:
        return
    if advert.priority == 0:
        r.out.append(fx.PeerResigned(r.key, source, obeyed=False))
        r.report_end(r.watch.end(now, gone=source), now)
        _answer(r, now)
        return
    if advert.priority == r.priority and source == r.source:
        if r.complains(source):
            r.out.append(fx.OwnAddressHeard(r.key))
        return
    if r.spec.owner and advert.priority == OWNER:
        _bear_owner(r, advert, source, now)
    if (advert.priority, source) > (r.priority, r.source):
        _yield(r, advert, source, now)
    else:
        _insist(r, advert, source, now)


def _bear_owner(r: Record, advert: Advert, source: Address, now: float) -> None:
    """Of two owners the higher address stays; but if the lower one does not yield, we do."""
    if r.owner_since is None:
        r.owner_since = (now, 0)
        return
    first, sent = r.owner_since
    longest = OWNER_PATIENCE_INTERVALS * max(advert.interval, r.spec.interval)
    if sent >= OWNER_PATIENCE_ADVERTS and now - first > longest:
        r.demoted = True
        r.out.append(fx.OwnerConflict(r.key, source))


def _yield(r: Record, advert: Advert, source: Address, now: float) -> None:
    if r.spec.higher_prio_send_advert:
        r.out.append(fx.SendAdvert(r.key, r.priority))
    higher = advert.priority > r.priority
    r.give_up(resign=False)
    r.change(
        State.BACKUP,
        Cause.HIGHER_PRIORITY if higher else Cause.HIGHER_ADDRESS,
        now,
        peer=source,
        peer_priority=advert.priority,
    )
    r.master = Claim(source, advert.priority, advert.interval, now)
    r.deadline = now + r.learn(advert.interval)


def _insist(r: Record, advert: Advert, source: Address, now: float) -> None:
    r.note_claim(advert, source, r.own_claim(), now)
    r.out.append(fx.LowerHeard(r.key, source, advert.priority))
    if not r.spec.lower_prio_no_advert:
        _answer(r, now)
    r.out.append(fx.Announce(r.key, Occasion.LOWER_PRIORITY))


def on_timer(r: Record, _event: ev.TimerFired, now: float) -> None:
    """Send the advert that is due."""
    if now < r.deadline or r.looks_again(now):
        return
    if _slept_too_long(r, now):
        r.give_up(resign=False)
        r.change(State.BACKUP, Cause.STALLED, now)
        r.deadline = now + r.master_down
        return
    due = r.deadline
    _advertise(r, now)
    # Small lateness does not add up; after a big one a new row begins
    interval = r.spec.interval
    r.deadline = due + interval if now - due < interval / 2 else now + interval
    if r.watch.current:
        r.report_end(r.watch.end(now), now)


def _slept_too_long(r: Record, now: float) -> bool:
    """Keepalived's ``timer_expired_backup``: another one must have taken over meanwhile."""
    spec = r.spec
    if not spec.timer_expired_backup or spec.preempt:
        return False
    other = master_down_time(
        spec.version, spec.timer_expired_backup, spec.interval, spec.down_timer_adverts
    )
    return now - r.sent > other


def _answer(r: Record, now: float) -> None:
    """Send an advert out of turn."""
    _advertise(r, now)
    r.looked = False
    r.deadline = now + r.spec.interval


def _advertise(r: Record, now: float) -> None:
    """Send an advert; announce the addresses too where the last one is too long ago."""
    r.advertise()
    if now - r.sent > 2 * r.spec.interval:
        r.out.append(fx.Announce(r.key, Occasion.STALL))
    r.sent = now
    if r.owner_since:
        first, sent = r.owner_since
        r.owner_since = (first, sent + 1)


def on_addresses_lost(r: Record, _event: ev.AddressesLost, _now: float) -> None:
    """Put back what somebody else removed; keepalived elects anew instead."""
    r.out += fx.HoldAddresses(r.key), fx.Announce(r.key, Occasion.RESTORED)


def on_announcement_due(r: Record, event: ev.AnnouncementDue, _now: float) -> None:
    """Announce the addresses for a reason from outside."""
    r.out.append(fx.Announce(r.key, event.occasion))


def on_stand_back(r: Record, _event: ev.StandBack, now: float) -> None:
    """Become backup with the rest of the sync group."""
    r.give_up(resign=False)
    r.change(State.BACKUP, Cause.GROUP, now)
    r.deadline = now + r.master_down
