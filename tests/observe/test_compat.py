"""keepalived's lines, as its users' monitors look for them."""

import io
import json
import re
from typing import get_type_hints

import pytest

from lvskeeper.observe import events as e
from lvskeeper.observe import vrrp_events as v
from lvskeeper.observe.compat import Compat, lines_of
from lvskeeper.observe.events import Event, Level, catalogue
from lvskeeper.observe.log import LogFormat, make_emit

VS = "tcp 192.0.2.10:80"
RS = "10.0.0.1:8080"


def changed(old: str, new: str, cause: str, peer: str = "", priority: int = 100) -> Event:
    theirs = 150 if peer else None
    return v.VrrpStateChanged("VI_1", "eth0 51 IPv4", old, new, cause, priority, peer, theirs)


CASES: list[tuple[Event, list[str]]] = [
    (changed("INIT", "BACKUP", "start"), ["(VI_1) Entering BACKUP STATE (init)"]),
    (
        changed("BACKUP", "MASTER", "no advert within the master-down time"),
        ["(VI_1) Receive advertisement timeout", "(VI_1) Entering MASTER STATE"],
    ),
    (
        changed("BACKUP", "MASTER", "the master resigned", "10.0.0.2"),
        ["(VI_1) Backup received priority 0 advertisement", "(VI_1) Entering MASTER STATE"],
    ),
    (
        changed("MASTER", "BACKUP", "a higher priority was heard", "10.0.0.2"),
        [
            "(VI_1) Master received advert from 10.0.0.2 with higher priority 150, ours 100",
            "(VI_1) Entering BACKUP STATE",
        ],
    ),
    (changed("MASTER", "FAULT", "fault"), ["(VI_1) Entering FAULT STATE"]),
    (changed("MASTER", "INIT", "stop"), ["(VI_1) sent 0 priority"]),
    (
        v.VrrpFaultsChanged("VI_1", "interface down, script failed (chk)"),
        [
            "(VI_1): entering FAULT state (interface down)",
            "(VI_1): entering FAULT state due to script chk",
        ],
    ),
    (v.VrrpFaultsChanged("VI_1", "none"), []),
    (
        v.VrrpPriorityChanged("VI_1", 100, 80, "100 - 20 (script chk) = 80"),
        ["(VI_1) Changing effective priority from 100 to 80"],
    ),
    (
        v.VrrpGroupChanged("G", "BACKUP", "MASTER"),
        ["VRRP_Group(G) Syncing instances to MASTER state"],
    ),
    (v.LinkChanged("eth0", "down", 0), ["Netlink reports eth0 down"]),
    (v.TrackChanged("script chk", "well", ""), ["VRRP_Script(chk) succeeded"]),
    (
        v.TrackChanged("script chk", "failed", "exit status 3"),
        ["VRRP_Script(chk) failed (exited with status 3)"],
    ),
    (
        e.RealServerDown(VS, RS, "TCP_CHECK 10.0.0.1:8080", 3, "connect", "refused", "1 ms"),
        [
            "TCP_CHECK on service [10.0.0.1]:tcp:8080 failed after 2 retries.",
            "Removing service [10.0.0.1]:tcp:8080 from VS [192.0.2.10]:tcp:80",
        ],
    ),
    (
        e.RealServerDown("fwmark 7", RS, "HTTP_GET 10.0.0.1:8080", 1, "status", "500", "1 ms"),
        [
            "HTTP_CHECK on service [10.0.0.1]:tcp:8080 failed.",
            "Removing service [10.0.0.1]:tcp:8080 from VS FWM 7",
        ],
    ),
    (
        e.RealServerUp("udp [2001:db8::1]:53", "[2001:db8::2]:53", "UDP_CHECK x succeeded"),
        [
            "UDP connection to [2001:db8::2]:udp:53 success.",
            "Adding service [2001:db8::2]:udp:53 to VS [2001:db8::1]:udp:53",
        ],
    ),
    (
        e.QuorumLost(VS, 0, 1, "10.0.0.9:80"),
        [
            "Lost quorum 1 > 0 for VS [192.0.2.10]:tcp:80",
            "Adding sorry server [10.0.0.9]:tcp:80 to VS [192.0.2.10]:tcp:80",
            "Removing alive servers from the pool for VS [192.0.2.10]:tcp:80",
        ],
    ),
    (e.QuorumGained(VS, 2, 1, ""), ["Gained quorum 1 <= 2 for VS [192.0.2.10]:tcp:80"]),
    (e.DaemonReady(1, 2, 3, 4, 0, "1 s"), ["Startup complete"]),
]


@pytest.mark.parametrize(("event", "lines"), CASES, ids=lambda value: getattr(value, "NAME", ""))
def test_an_event_has_the_lines_of_keepalived(event: Event, lines: list[str]) -> None:
    assert [line.text for line in lines_of(event)] == lines


def written(event: Event, log_format: LogFormat, compat: Compat) -> list[str]:
    stream = io.StringIO()
    make_emit("router", log_format, Level.INFO, stream, compat)(event)
    return stream.getvalue().splitlines()


MASTER = changed("BACKUP", "MASTER", "the master resigned")


def test_beside_they_come_after_ours() -> None:
    ours, *theirs = written(MASTER, LogFormat.KEYVALUE, Compat.BESIDE)
    assert ours.startswith("<5>vrrp_state_changed ")
    assert theirs == [
        "<6>(VI_1) Backup received priority 0 advertisement",
        "<6>(VI_1) Entering MASTER STATE",
    ]


def test_instead_they_are_alone_and_the_rest_is_left_out() -> None:
    lines = written(MASTER, LogFormat.TEXT, Compat.INSTEAD)
    assert len(lines) == 2
    # The form of a syslog file, which most of the monitors were written for
    assert re.fullmatch(
        r"\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ Keepalived_vrrp\[\d+\]: \(VI_1\) Entering MASTER STATE",
        lines[1],
    )
    assert written(e.SysctlSet("a", "0", "1"), LogFormat.TEXT, Compat.INSTEAD) == []


def test_json_stays_json() -> None:
    found = [json.loads(line) for line in written(MASTER, LogFormat.JSON, Compat.BESIDE)]
    assert [one.get("message") for one in found][1:] == [
        "(VI_1) Backup received priority 0 advertisement",
        "(VI_1) Entering MASTER STATE",
    ]


@pytest.mark.parametrize("kind", catalogue(), ids=lambda kind: str(kind.NAME))
def test_no_event_is_too_strange_for_it(kind: type[Event]) -> None:
    hints = get_type_hints(kind)
    odd = kind(*(3 if hints[name] is int else "odd: text" for name in kind.__struct_fields__))
    assert all(line.text for line in lines_of(odd))
