"""Whether a fail-over now would keep connections."""

from dataclasses import replace
from typing import Final

import pytest

from lvskeeper.fullnat.conntrackd import Figures
from lvskeeper.fullnat.outlook import BACKLOG, MEMORY, Doubt, Facts, Outlook

CALM: Final = Figures(own=7, received=10, sent=10)
FINE: Final = Facts(running=True, peer=True, figures=CALM)


def doubts(*looks: Facts) -> tuple[Doubt, ...] | None:
    """Return what is doubted after looks that follow each other within a second."""
    outlook = Outlook()
    for now, facts in enumerate(looks):
        outlook.on_look(facts, now / 10)
    return outlook.doubts


def test_nothing_is_told_before_the_peer_is_known() -> None:
    outlook = Outlook()
    assert not outlook.on_look(replace(FINE, peer=None), 0.0)
    assert outlook.doubts is None


def test_every_change_is_told_once() -> None:
    outlook = Outlook()
    assert outlook.on_look(FINE, 0.0)
    assert not outlook.on_look(FINE, 1.0)
    assert outlook.on_look(replace(FINE, peer=False), 2.0)
    assert not outlook.on_look(replace(FINE, peer=False), 3.0)
    assert outlook.on_look(replace(FINE, peer=False, unsynced=True), 4.0)
    assert outlook.on_look(FINE, 5.0)
    assert outlook.doubts == ()


@pytest.mark.parametrize(
    ("facts", "doubt"),
    [
        (replace(FINE, running=False, peer=None), Doubt.ABSENT),
        (replace(FINE, running=False), Doubt.ABSENT),
        (replace(FINE, peer=False), Doubt.SILENT),
        (replace(FINE, unsynced=True), Doubt.UNSYNCED),
        (replace(FINE, figures=replace(CALM, unconfirmed=BACKLOG + 1)), Doubt.BEHIND),
        (replace(FINE, figures=replace(CALM, overruns=1)), Doubt.OVERRUN),
        (replace(FINE, figures=replace(CALM, errors=1)), Doubt.FAILED),
        (replace(FINE, figures=replace(CALM, failed=1)), Doubt.REFUSED),
    ],
)
def test_each_reason_is_seen(facts: Facts, doubt: Doubt) -> None:
    assert doubts(FINE, facts) == (doubt,)


def test_what_was_counted_before_the_first_look_is_past() -> None:
    old = replace(FINE, figures=replace(CALM, overruns=5, errors=5, failed=5))
    assert doubts(old, old) == ()


def test_a_conntrackd_that_counts_anew_has_not_failed() -> None:
    assert doubts(replace(FINE, figures=replace(CALM, errors=5)), FINE) == ()


def test_a_failure_is_forgotten_after_a_while() -> None:
    outlook = Outlook()
    failed = replace(FINE, figures=replace(CALM, overruns=1))
    outlook.on_look(FINE, 0.0)
    outlook.on_look(failed, 1.0)
    assert not outlook.on_look(failed, MEMORY)
    assert outlook.on_look(failed, MEMORY + 1.0)
    assert outlook.doubts == ()
