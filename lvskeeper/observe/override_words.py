"""An override in words, the same in every command and page that shows it."""

from lvskeeper.observe.views import OverrideView
from lvskeeper.units import format_duration


def state_of(it: OverrideView) -> str:
    """Return what an override makes of its subject: ``draining``, ``weight 5``, ``disabled``."""
    match it.kind, it.state:
        case "weight", _:
            return f"weight {it.weight}"
        case "disable", "drained":
            return "disabled, drained"
        case "disable", _:
            return "disabled"
        case _, state:
            return state


def in_words(it: OverrideView) -> str:
    """Return what an override is, how far, until when, and who gave it."""
    text = state_of(it)
    if it.state == "draining" and it.connections is not None:
        text += f", {it.connections} connections left"
    if it.deadline_in is not None:
        text += f", {format_duration(it.deadline_in)} at most"
    if it.expires_in is not None:
        text += f", ends in {format_duration(it.expires_in)}"
    if it.by:
        text += f"; by {it.by} {format_duration(it.age)} ago"
    if it.reason:
        text += f": {it.reason}"
    return f"{text} ({it.note})" if it.note else text
