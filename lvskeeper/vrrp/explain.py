"""Why an instance is in its state, in one line: for ``status``, and for those who wonder."""

from typing import assert_never

from lvskeeper.units import format_address, format_duration
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.states import State


def explain(instance: Instance, now: float) -> str:
    """Return the state of *instance*, its reasons, and what comes next if nothing happens."""
    match instance.state:
        case State.INIT:
            return f"INIT: {_waiting(instance) or 'not started'}"
        case State.FAULT:
            reasons = ", ".join(sorted(str(fault) for fault in instance.faults))
            return f"FAULT: {reasons or _waiting(instance)}"
        case State.MASTER:
            return f"MASTER: {_master(instance, now)}"
        case State.BACKUP:
            return f"BACKUP: {_backup(instance, now)}"
        case _ as never:
            assert_never(never)


def _waiting(instance: Instance) -> str:
    pending = sorted(str(track) for track in instance.verdict.pending)
    return f"waits for the first result of {', '.join(pending)}" if pending else ""


def _master(instance: Instance, now: float) -> str:
    ours = f"priority {instance.verdict.priority}"
    contention = instance.contention
    if contention is None:
        return f"{ours}; no other master is heard"
    lasts = format_duration(now - contention.since)
    return f"{ours}; contention for {lasts} between {contention}"


def _backup(instance: Instance, now: float) -> str:
    ours = f"our priority is {instance.verdict.priority}"
    if instance.wants:
        return f"{ours}, no master is heard; waits for the other members of its sync group"
    soon = format_duration(max(0.0, instance.deadline() - now))
    master = instance.master
    if master is None:
        return f"{ours}, no master is heard; takes over in {soon}"
    heard = format_duration(now - master.heard)
    who = f"{format_address(master.address)} is master with priority {master.priority}"
    then = f"takes over in {soon} unless it is heard"
    return f"{who}, heard {heard} ago; {ours}{_why_not(instance, now)}; {then}"


def _why_not(instance: Instance, now: float) -> str:
    master = instance.master
    if master is None or master.priority >= instance.priority:
        return ""
    if not instance.spec.preempts:
        return ", higher, but nopreempt lets it be"
    if now < instance.preempt_at:
        left = format_duration(instance.preempt_at - now)
        return f", higher, but preempt_delay lets it be for {left}"
    return ", higher"
