"""What doctor says of state sync, from a running daemon's view of it."""

from dataclasses import replace

from lvskeeper.observe.doctor import Verdict, carried
from lvskeeper.observe.views import StateSyncView

WELL = StateSyncView(
    link="eth2 10.255.0.1 to 10.255.0.2", age=0.4, running=True, peer=True, active=True,
    keeps=True, doubts=(), own=8123, from_peer=12, behind=3, sent=90_210, received=4711,
    lost=2, refused=0, errors=0, overruns=0, ipvs="master",
)  # fmt: skip


def test_a_pair_that_would_keep_connections_is_well() -> None:
    finding = carried(WELL)
    assert finding.verdict is Verdict.OK
    assert "8123 connections of this director, 12 of the peer's" in finding.text


def test_one_that_would_cut_them_is_told_with_the_reasons() -> None:
    doubts = ("nothing comes from the peer's conntrackd", "messages failed")
    finding = carried(replace(WELL, keeps=False, doubts=doubts))
    assert finding.verdict is Verdict.WARNING
    assert "; ".join(doubts) in finding.text
    assert finding.command == "lvskeeper status sync -o wide"


def test_what_is_not_known_yet_is_not_taken_for_well() -> None:
    finding = carried(replace(WELL, keeps=None))
    assert finding.verdict is Verdict.WARNING
    assert "not known yet" in finding.text
