import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from lvskeeper.observe.events import Event, Level, QuorumLost, RealServerDown, catalogue
from lvskeeper.observe.log import LogFormat, make_emit
from lvskeeper.observe.reference import render

DOWN = RealServerDown(
    "tcp 198.51.100.1:80",
    "10.0.0.1:80",
    "TCP_CHECK 10.0.0.1:80",
    2,
    "connect",
    "connection refused",
    "0.4 ms",
)


def written(event: Event, log_format: LogFormat, level: Level = Level.INFO) -> str:
    stream = io.StringIO()
    make_emit("director", log_format, level, stream)(event)
    return stream.getvalue()


def test_json_carries_all_fields() -> None:
    line = json.loads(written(DOWN, LogFormat.JSON))

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "real_server_down",
        "role": "director",
        "virtual_server": "tcp 198.51.100.1:80",
        "real_server": "10.0.0.1:80",
        "check": "TCP_CHECK 10.0.0.1:80",
        "attempts": 2,
        "phase": "connect",
        "reason": "connection refused",
        "probe_took": "0.4 ms",
    }


def test_keyvalue_has_the_journal_priority_and_quotes() -> None:
    assert written(DOWN, LogFormat.KEYVALUE) == (
        '<4>real_server_down role=director virtual_server="tcp 198.51.100.1:80"'
        ' real_server=10.0.0.1:80 check="TCP_CHECK 10.0.0.1:80" attempts=2 phase=connect'
        ' reason="connection refused" probe_took="0.4 ms"\n'
    )


def test_console_is_one_line_that_names_the_event() -> None:
    text = written(DOWN, LogFormat.CONSOLE)

    assert re.match(r"\d\d:\d\d:\d\d\.\d+ \[warning *\] real_server_down ", text)
    assert text.count("\n") == 1


def test_without_a_terminal_auto_means_json() -> None:
    assert json.loads(written(DOWN, LogFormat.AUTO))["event"] == "real_server_down"


def test_less_urgent_events_are_left_out() -> None:
    assert written(DOWN, LogFormat.JSON, Level.ERROR) == ""
    assert written(QuorumLost("x", 0, 1, ""), LogFormat.JSON, Level.ERROR) != ""


def test_a_log_that_cannot_be_written_raises_nothing() -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        make_emit("director", LogFormat.JSON, Level.INFO, full)(DOWN)
        with contextlib.suppress(OSError):
            full.close()
    closed = io.StringIO()
    emit = make_emit("director", LogFormat.JSON, Level.INFO, closed)
    closed.close()
    emit(DOWN)


def test_an_empty_field_is_left_out() -> None:
    assert "sorry_server" not in written(QuorumLost("x", 0, 1, ""), LogFormat.JSON)


@pytest.mark.parametrize("kind", catalogue(), ids=lambda kind: str(kind.NAME))
def test_every_event_is_complete(kind: type[Event]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.NAME)
    assert kind.__doc__
    assert kind.__struct_config__.frozen
    if kind.LEVEL <= Level.WARNING:
        assert kind.CURE, "an event that asks for attention says what to do"


def test_names_are_unique() -> None:
    names = [kind.NAME for kind in catalogue()]

    assert len(names) == len(set(names))


def test_the_reference_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "events.md"

    assert page.read_text() == render(), (
        "run: python -m lvskeeper.observe.reference >docs/events.md"
    )
