"""Probes are counted by kind, outcome and length."""

from lvskeeper.health.spec import CheckKind, Phase, ProbeResult
from lvskeeper.health.tally import BOUNDS, ProbeTally


def test_probes_are_counted_by_kind_outcome_and_length() -> None:
    tally = ProbeTally()
    tally.note(CheckKind.TCP, ProbeResult(Phase.DONE, elapsed=0.001))
    tally.note(CheckKind.TCP, ProbeResult(Phase.CONNECT, "connection refused", 0.002))
    tally.note(CheckKind.HTTP, ProbeResult(Phase.TIMEOUT, "no answer", 30.0))
    tcp, http = tally.kinds[CheckKind.TCP], tally.kinds[CheckKind.HTTP]
    assert (tcp.good, tcp.bad, tcp.broken) == (1, 1, 0)
    assert tcp.seconds == 0.003
    assert tcp.lengths == [1, 1, *[0] * (len(BOUNDS) - 1)]
    assert http.lengths == [*[0] * len(BOUNDS), 1]


def test_a_probe_that_could_not_be_made_has_no_length() -> None:
    tally = ProbeTally()
    tally.note(CheckKind.TCP, ProbeResult(Phase.INTERNAL, "no file descriptor left", 1.0))
    assert tally.kinds[CheckKind.TCP].broken == 1
    assert sum(tally.kinds[CheckKind.TCP].lengths) == 0
