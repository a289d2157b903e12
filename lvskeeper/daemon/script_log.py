"""What is told of a script that ran: its outcome as events."""

from collections.abc import Iterator

from lvskeeper.daemon.scripts import ScriptOutcome
from lvskeeper.observe import events
from lvskeeper.observe.events import Event
from lvskeeper.units import format_duration


def script_events(outcome: ScriptOutcome) -> Iterator[Event]:
    """Yield the events of *outcome*."""
    command = " ".join(outcome.argv)
    if outcome.skipped:
        yield events.ScriptsSkipped(outcome.subject, outcome.skipped)
    if outcome.ok:
        yield events.ScriptDone(outcome.subject, command, format_duration(outcome.seconds))
    else:
        yield events.ScriptFailed(outcome.subject, command, _how(outcome), outcome.output.strip())


def _how(outcome: ScriptOutcome) -> str:
    if outcome.error:
        return outcome.error
    if outcome.timed_out:
        return f"killed after {format_duration(outcome.seconds)}"
    if outcome.signal is not None:
        return f"killed by signal {outcome.signal}"
    return f"exit status {outcome.status}"
