"""Overrides are shown wherever the server is shown."""

from dataclasses import replace

from lvskeeper.observe.explain import explain_server
from lvskeeper.observe.override_words import in_words
from lvskeeper.observe.snapshot import DaemonView, Snapshot
from lvskeeper.observe.status import override_section, render_status, server_section
from lvskeeper.observe.views import DirectorView, OverrideView, ServerView, VirtualView

DRAIN = OverrideView("drain", "draining", 0, 60.0, 1740.0, 240.0, 3, 0, "", "anna", "new disks")
SERVER = ServerView("192.0.2.1:80", True, False, 0, 1, 0, "NAT", 90.0, (), DRAIN)
OTHER = ServerView("192.0.2.2:80", True, True, 1, 1, 1, "NAT", 90.0)
VIRTUAL = VirtualView(
    "tcp 192.0.2.10:80", (), (), "rr", True, 90.0, 1, 1, 1, "", False, "", False, (SERVER, OTHER)
)


def snapshot(virtual: VirtualView) -> Snapshot:
    daemon = DaemonView(100.0, 0.0, "1", 1, 100.0, "f", 1, 1.0, None, "", ())
    return Snapshot(daemon, DirectorView(100.0, "mainline", (virtual,)), None)


def test_a_draining_server_says_so_with_what_is_left() -> None:
    assert in_words(DRAIN) == (
        "draining, 3 connections left, 4 min 0 s at most, ends in 29 min 0 s; "
        "by anna 60.0 s ago: new disks"
    )
    rows = server_section(snapshot(VIRTUAL), 100.0).rows
    assert [row[2] for row in rows] == ["draining", "up"]
    (row,) = override_section(snapshot(VIRTUAL), 100.0).rows
    assert row == ["192.0.2.1:80", "tcp 192.0.2.10:80", "draining", "3", "anna", "1 min 0 s ago",
                   "new disks"]  # fmt: skip


def test_a_status_has_overrides_only_where_there_are_any() -> None:
    assert "Overrides" in render_status(snapshot(VIRTUAL), 100.0)
    plain = replace(VIRTUAL, servers=(OTHER,))
    assert "Overrides" not in render_status(snapshot(plain), 100.0)


def test_a_disabled_virtual_server_is_one_row() -> None:
    disabled = replace(DRAIN, kind="disable", state="drained", connections=0, reason="")
    server = replace(SERVER, override=disabled)
    virtual = replace(VIRTUAL, override=disabled, servers=(server,))
    (row,) = override_section(snapshot(virtual), 100.0).rows
    assert row[:3] == ["all", "tcp 192.0.2.10:80", "disabled, drained"]
    assert "DOWN, disabled, drained" in render_status(snapshot(virtual), 100.0)


def test_explain_names_the_order_and_what_lifts_it() -> None:
    text = str(explain_server(SERVER, VIRTUAL))
    assert "an operator wants it so: draining, 3 connections left" in text
    assert "`lvskeeper undrain 192.0.2.1:80`" in text
    weight = OverrideView("weight", "set", 5, 1.0, None, None, None, None, "", "", "")
    serving = replace(OTHER, weight=5, effective=5, override=weight)
    assert "its weight is an operator's: weight 5" in str(explain_server(serving, VIRTUAL))
