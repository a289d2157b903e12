"""What status and explain say in incidents, word for word.

LVSKEEPER_GOLDEN=write renews the files; read the difference.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.incidents import START, Incident

from lvskeeper.cli.events import line_of
from lvskeeper.fullnat.capacity import Load, Place, PoolUse, State
from lvskeeper.fullnat.capacity import Snapshot as Capacity
from lvskeeper.fullnat.outlook import Doubt
from lvskeeper.health.spec import Phase
from lvskeeper.ipvs.types import DestKey, Protocol
from lvskeeper.observe.explain import explain_server, explain_virtual
from lvskeeper.observe.explain_vrrp import explain_instance
from lvskeeper.observe.snapshot import Problem, Snapshot
from lvskeeper.observe.status import SECTIONS, render_status
from lvskeeper.observe.views import StateSyncView
from lvskeeper.units import parse_address
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.states import Fault, FaultKind

GOLDEN = Path(__file__).parents[1] / "golden" / "observe"
FIRST, SECOND = "198.51.100.1:8080", "198.51.100.2:8080"

pytestmark = pytest.mark.asyncio


def all_well(it: Incident) -> None:
    it.script("chk", well=True)
    it.wait(5)
    it.probe(FIRST, Phase.DONE)
    it.probe(SECOND, Phase.DONE, "status 200")
    it.wait(7)


def server_down(it: Incident) -> None:
    all_well(it)
    for _ in range(3):
        it.probe(FIRST, Phase.CONNECT, "connection refused")
        it.wait(1)
    it.wait(2)


def servers_back_but_sorry(it: Incident) -> None:
    server_down(it)
    it.probe(SECOND, Phase.STATUS, "status 503, wanted 200")
    it.probe(SECOND, Phase.STATUS, "status 503, wanted 200")
    it.wait(3)
    it.probe(SECOND, Phase.DONE, "status 200")
    it.wait(1)


def a_stronger_master(it: Incident) -> None:
    all_well(it)
    it.hear(200)
    it.wait(0.3)


def script_failed(it: Incident) -> None:
    all_well(it)
    it.script("chk", well=False)
    it.hear(100)
    it.wait(0.2)


def interface_down(it: Incident) -> None:
    all_well(it)
    it.happen(ev.Faulted(Fault(FaultKind.INTERFACE_DOWN, "eth0")))
    it.wait(65)


def two_masters(it: Incident) -> None:
    all_well(it)
    for _ in range(4):
        it.hear(90)
        it.wait(1)


def router_gone(it: Incident) -> None:
    all_well(it)
    it.problems = (Problem("unavailable", "no router role runs", "It is started again; try then."),)


def pool_full(it: Incident) -> None:
    all_well(it)
    server = DestKey(parse_address("198.51.100.1"), 8080)
    load = Load(Place("pool", 1024, 65535, Protocol.TCP, server), 3, 190_000)
    it.capacity = Capacity((PoolUse("pool", 190_500, load, State.NEARLY_FULL),))


def peer_silent(it: Incident) -> None:
    all_well(it)
    it.state_sync = StateSyncView(
        link="eth2 10.255.0.1 to 10.255.0.2", age=0.4, running=True, peer=False, active=True,
        keeps=False, doubts=(str(Doubt.SILENT),), own=8123, from_peer=12, behind=377,
        sent=90_210, received=4711, lost=2, refused=0, errors=1, overruns=0, ipvs="master",
    )  # fmt: skip


STORIES: list[Callable[[Incident], None]] = [
    all_well, server_down, servers_back_but_sorry, a_stronger_master, script_failed,
    interface_down, two_masters, router_gone, pool_full, peer_silent,
]  # fmt: skip


def text_of(snapshot: Snapshot, now: float) -> str:
    """Return all that status and explain say half a second after the snapshot."""
    parts = ["$ lvskeeper status", render_status(snapshot, now)]
    parts += ["$ lvskeeper status -o wide", render_status(snapshot, now, wide=True)]
    for word, section in SECTIONS.items():
        parts += [f"$ lvskeeper status {word}", str(section(snapshot, now))]
    director, router = snapshot.director, snapshot.router
    assert director is not None
    for virtual in director.virtual_servers:
        explained = explain_virtual(virtual, director, router, now - director.taken)
        parts += [f"$ lvskeeper explain vs '{virtual.name}'", str(explained)]
        for server in virtual.servers:
            told = explain_server(server, virtual, now - director.taken)
            parts += [f"$ lvskeeper explain rs {server.name}", str(told)]
    for instance in router.instances if router else ():
        assert router is not None
        told = explain_instance(instance, router, now - router.taken)
        parts += [f"$ lvskeeper explain instance {instance.name}", str(told)]
    return "\n".join(parts)


def events_of(it: Incident) -> str:
    """Return the events, with seconds since the start in place of the time of day."""
    lines = ["\n$ lvskeeper events -l debug"]
    for entry in it.diary.newest(100):
        # The stamp has two words
        rest = line_of(entry).split(maxsplit=2)[2]
        lines.append(f"+{entry.at - START:06.3f} {' '.join(rest.split())}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_what_is_said_in_an_incident(story: Callable[[Incident], None]) -> None:
    it = Incident()
    story(it)
    snapshot = await it.snapshot()
    if story is router_gone:
        snapshot = Snapshot(snapshot.daemon, snapshot.director, None, snapshot.problems)
    text = text_of(snapshot, it.now + 0.5) + events_of(it)
    golden = GOLDEN / f"{story.__name__}.txt"
    if os.environ.get("LVSKEEPER_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
