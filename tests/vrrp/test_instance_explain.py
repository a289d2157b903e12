"""The one line that says why."""

import pytest
from support.vrrp import HIGH, LOW, advert, backup, master, spec

from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.explain import explain
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import Fault, FaultKind
from lvskeeper.vrrp.tracking import Track, TrackId, TrackKind


def test_init_and_fault() -> None:
    vi = Instance(spec(tracks=(Track(TrackId(TrackKind.SCRIPT, "chk")),)))
    assert explain(vi, 100.0) == "INIT: waits for the first result of script chk"
    vi.on(ev.Started(), 100.0)
    vi.on(ev.Faulted(Fault(FaultKind.INTERFACE_DOWN, "eth0")), 100.0)
    vi.on(ev.Faulted(Fault(FaultKind.DIRECTOR)), 100.0)
    assert explain(vi, 100.0) == "FAULT: director does not answer, interface down (eth0)"
    assert explain(Instance(spec()), 100.0) == "INIT: not started"


def test_master() -> None:
    vi = master(spec())
    assert explain(vi, 104.0) == "MASTER: priority 100; no other master is heard"
    vi.on_advert(advert(50), LOW, 104.0)
    assert explain(vi, 109.0) == (
        "MASTER: priority 100; contention for 5.0 s between 192.0.2.2 (priority 100, every 1 s) "
        "and 192.0.2.1 (priority 50, every 1 s): the latter is to yield (higher priority)"
    )


@pytest.mark.parametrize(
    ("made", "priority", "told"),
    [
        (spec(), 200, "our priority is 100"),
        (spec(preempt=False), 50, "our priority is 100, higher, but nopreempt lets it be"),
        (
            spec(preempt_delay=9),
            50,
            "our priority is 100, higher, but preempt_delay lets it be for 8.5 s",
        ),
    ],
)
def test_backup(made: InstanceSpec, priority: int, told: str) -> None:
    vi = backup(made)
    assert (
        explain(vi, 100.0) == "BACKUP: our priority is 100, no master is heard; takes over in 3.6 s"
    )
    vi.on_advert(advert(priority), HIGH, 101.0)
    assert explain(vi, 101.5) == (
        f"BACKUP: 192.0.2.3 is master with priority {priority}, heard 500 ms ago; {told}; "
        "takes over in 3.1 s unless it is heard"
    )


def test_a_member_of_a_sync_group_that_waits() -> None:
    vi = Instance(spec(), grouped=True)
    vi.on(ev.Started(), 100.0)
    at = vi.deadline()
    vi.on_timer(at)
    vi.on_timer(at)
    assert explain(vi, at) == (
        "BACKUP: our priority is 100, no master is heard; "
        "waits for the other members of its sync group"
    )
