"""From what a VRRP machine says to what the operator reads: effects as events."""

from math import isfinite
from typing import assert_never

from lvskeeper.daemon.seat import Seat
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.events import Event
from lvskeeper.units import NO_ADDRESS, Address, format_address, format_duration
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.announce import Planner
from lvskeeper.vrrp.explain import explain
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.record import MAX_COMPLAINTS
from lvskeeper.vrrp.states import State


def address_text(address: Address) -> str:
    """Return the text of *address*; nothing for none."""
    return format_address(address) if address != NO_ADDRESS else ""


def event_of(  # noqa: C901, PLR0911, PLR0912 - one case an effect
    effect: fx.Effect, seat: Seat, state: State, now: float
) -> Event | None:
    """Return what is told of *effect* of the instance of *seat*, in *state*; or nothing.

    Work for the kernel and the loop is told by who does it.
    """
    name = seat.name
    match effect:
        case fx.StateChanged():
            return told.VrrpStateChanged(
                name, str(seat.key), effect.old.value, effect.new.value, effect.cause.value,
                effect.priority, address_text(effect.peer),
                effect.peer_priority if effect.peer else None,
            )  # fmt: skip
        case fx.FaultsChanged(faults=faults):
            return told.VrrpFaultsChanged(name, ", ".join(sorted(map(str, faults))) or "none")
        case fx.PriorityChanged(old=old, new=new):
            return told.VrrpPriorityChanged(name, old, new.total, str(new))
        case fx.ContentionBegan(contention=it):
            return told.VrrpContentionBegan(name, str(it.stronger), str(it.weaker), it.why)
        case fx.ContentionEnded(contention=it, lasted=lasted):
            long = format_duration(lasted)
            return told.VrrpContentionEnded(name, str(it.stronger), str(it.weaker), long)
        case fx.MasterLearned(address=address, priority=priority, before=before):
            return told.VrrpMasterLearned(
                name, format_address(address), priority, address_text(before)
            )
        case fx.PeerResigned(source=source, obeyed=obeyed):
            return told.VrrpPeerResigned(name, format_address(source), obeyed)
        case fx.Late(state=late_in, by=by):
            seat.counters.late += 1
            return told.VrrpLate(name, late_in.value, format_duration(by), seat.counters.late)
        case fx.Extended(until=until):
            return told.VrrpExtended(name, format_duration(until - now))
        case fx.IntervalLearned(old=old_interval, new=new_interval):
            old_text, new_text = format_duration(old_interval), format_duration(new_interval)
            return told.VrrpIntervalLearned(name, old_text, new_text)
        case fx.LowerDiscarded() | fx.LowerHeard():
            return _lower(effect, seat, state)
        case fx.OwnAddressHeard():
            return told.VrrpOwnAddressHeard(name)
        case fx.OwnerConflict(rival=rival):
            return told.VrrpOwnerConflict(name, format_address(rival))
        case fx.PreemptDelayStarted(until=until):
            return told.VrrpPreemptDelay(name, "began", format_duration(until - now))
        case fx.PreemptDelayEnded():
            return told.VrrpPreemptDelay(name, "ended", "")
        case fx.GroupChanged(old=old_state, new=new_state):
            return told.VrrpGroupChanged(effect.name, old_state.value, new_state.value)
        case (
            fx.SendAdvert() | fx.HoldAddresses() | fx.ReleaseAddresses() | fx.Announce()
            | fx.LookAgain()
        ):  # fmt: skip
            return None
        case _:
            assert_never(effect)


def _lower(
    effect: fx.LowerDiscarded | fx.LowerHeard, seat: Seat, state: State
) -> told.VrrpLowerHeard | told.VrrpLowerUntold | None:
    """Return what is told of a weaker router: each once, the last one for all that follow."""
    known, source = seat.insisted, effect.source
    if source in known or len(known) >= MAX_COMPLAINTS:
        return None
    known.add(source)
    peer = format_address(source)
    if len(known) == MAX_COMPLAINTS:
        return told.VrrpLowerUntold(seat.name, state.value, MAX_COMPLAINTS, peer)
    return told.VrrpLowerHeard(seat.name, state.value, peer, effect.priority)


def report(seat: Seat, instance: Instance, planner: Planner, now: float) -> told.VrrpReport:
    """Return how an instance is."""
    counters = seat.counters
    peers = ", ".join(
        f"{format_address(address)} (priority {seen.priority}, {seen.adverts} adverts, "
        f"{format_duration(now - seen.heard)} ago)"
        for address, seen in seat.peers.items()
    )
    announced = []
    for place in seat.places:
        last = planner.last(seat.key, place)
        ago = f"{format_duration(now - last)} ago" if last is not None else "never"
        announced.append(f"{format_address(place.address)} {ago}")
    return told.VrrpReport(
        seat.name,
        str(seat.key),
        explain(instance, now),
        # One that was not started yet, or waits for its scripts, has been in INIT all the time.
        format_duration(max(0.0, now - instance.since)) if isfinite(instance.since) else "",
        counters.sent,
        counters.received,
        ", ".join(f"{kind} {count}" for kind, count in sorted(counters.rejected.items())),
        counters.zero_sent,
        counters.zero_received,
        counters.became_master,
        counters.late,
        counters.lost,
        peers,
        ", ".join(announced) if instance.state is State.MASTER else "",
    )
