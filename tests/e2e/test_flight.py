"""The flight recorder of a daemon with VRRP: a dump on demand, and the machines do it again."""

from pathlib import Path

import pytest
from support.commands import command
from support.vrrp_site import instance, site

from lvskeeper.observe.flight import read_flight
from lvskeeper.vrrp.replay import differences, replay
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.tape import Kind

pytestmark = pytest.mark.root


def test_a_failover_is_dumped_on_demand_and_replays(tmp_path: Path) -> None:
    with site(tmp_path, instance(priority=100), instance(priority=150)) as made:
        made.peer.start()
        made.wait("MASTER", who="peer")
        made.daemon.start()
        made.daemon.wait_for("vrrp_master_learned")
        made.reload(instance(priority=90))
        run_dir = str(made.daemon.run_dir)
        mark = made.daemon.events("vrrp_master_learned")[-1].seen
        made.peer.kill()
        made.wait("MASTER", since=mark)
        dumped = command("dump", "--run-dir", run_dir)
        assert dumped.status == 0, dumped.err
        file = Path(dumped.out.strip())
        flight = read_flight(file)
        assert flight.problems == ()
        assert flight.reason == "asked for by root"
        assert "vrrp_state_changed" in {entry.event for entry in flight.events}
        assert flight.router is not None
        segments = flight.router.segments
        changes = [change for one in segments for change in one.changes]
        assert (changes[-1].old, changes[-1].new) == (State.BACKUP, State.MASTER)
        for segment in segments:
            assert differences(segment, replay(segment)) == []
        kinds = {one.kind for segment in segments for _, one in segment.inputs}
        assert {Kind.ADVERT, Kind.TIMER} <= kinds
        shown = command("replay", file, "--inputs", "--events")
        assert shown.status == 0, shown.err
        assert "one BACKUP to MASTER: no advert within the master-down time" in shown.out
        assert "eth0 vrid 5: advert of 192.0.2.2, priority 150, every 0.1 s" in shown.out
        assert "the machines did the same again" in shown.out


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json.gz"
    other.write_text("{}")
    refused = command("replay", other)
    assert refused.status == 2
    assert str(other) in refused.err
