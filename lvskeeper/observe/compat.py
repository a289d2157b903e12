"""keepalived's words for our events: what log monitors of keepalived look for.

Only the form is keepalived's (v2.4.3); a line is there if our event has what it tells. Quorum and
hysteresis are told as their sum.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, final

from lvskeeper.observe import events as e
from lvskeeper.observe import vrrp_events as v
from lvskeeper.observe.events import Event, Level

_PARENT: Final = "Keepalived"
_VRRP: Final = "Keepalived_vrrp"
_CHECKER: Final = "Keepalived_healthcheckers"

_ENDPOINT: Final = re.compile(r"(?:(\w+) )?(?:\[([^]]+)\]|([^\s:\[\]]+)):(\d+)")
_FAULT: Final = re.compile(r"(?P<kind>[^(]+?)(?: \((?P<name>[^)]*)\))?$")
_CHECKS: Final = {
    "TCP_CHECK": "TCP connection to {} success.",
    "UDP_CHECK": "UDP connection to {} success.",
    "PING_CHECK": "ICMP connection to {} success.",
    "HTTP_GET": "Remote Web server {} succeed on service.",
    "SSL_GET": "Remote Web server {} succeed on service.",
    "SMTP_CHECK": "Remote SMTP server {} succeed on service.",
}
_FAILURES: Final = {"HTTP_GET": "HTTP_CHECK", "SSL_GET": "SSL_CHECK", "PING_CHECK": "ICMP CHECK"}
_BECOMES_MASTER: Final = {
    "no advert within the master-down time": "({}) Receive advertisement timeout",
    "the master resigned": "({}) Backup received priority 0 advertisement",
}


@final
class Compat(Enum):
    """Whether keepalived's lines are written."""

    OFF = "off"
    BESIDE = "beside"
    """After ours."""
    INSTEAD = "instead"
    """Without ours; an event that keepalived has no line for is left out."""


@final
class Line(NamedTuple):
    """A line as keepalived writes it, and the name under which it does."""

    identity: str
    text: str
    level: Level = Level.INFO


def lines_of(event: Event) -> Iterator[Line]:
    """Yield the lines that keepalived writes where we tell *event*."""
    for text in _of_vrrp(event):
        yield Line(_VRRP, text)
    for text in _of_checker(event):
        yield Line(_CHECKER, text)
    yield from _of_parent(event)


def _of_vrrp(event: Event) -> Iterator[str]:  # noqa: C901, PLR0912 - one case an event
    match event:
        case v.VrrpStateChanged():
            yield from _state_changed(event)
        case v.VrrpFaultsChanged(faults=faults) if faults != "none":
            for fault in faults.split(", "):
                yield f"({event.instance}): entering FAULT state{_fault(fault)}"
        case v.VrrpPriorityChanged():
            yield f"({event.instance}) Changing effective priority from {event.old} to {event.new}"
        case v.VrrpGroupChanged():
            yield f"VRRP_Group({event.group}) Syncing instances to {event.new} state"
        case v.VrrpMasterLearned(before=""):
            yield f"({event.instance}) master set to {event.master}"
        case v.VrrpMasterLearned():
            yield f"({event.instance}) master changed from {event.before} to {event.master}"
        case v.VrrpPreemptDelay():
            word = "start" if event.change == "began" else "stop"
            yield f"({event.instance}) {word} preempt delay"
        case v.VrrpLowerHeard(state="MASTER"):
            yield (
                f"({event.instance}) Received advert from {event.peer} with lower priority "
                f"{event.peer_priority}, forcing new election"
            )
        case v.VrrpLowerHeard():
            yield (
                f"({event.instance}) received lower priority ({event.peer_priority}) advert from "
                f"{event.peer} - discarding"
            )
        case v.VrrpOwnAddressHeard():
            yield (
                f"({event.instance}) WARNING - equal priority advert received from remote host "
                "with our IP address."
            )
        case v.VrrpOwnerConflict():
            yield (
                f"({event.instance}) {event.rival} is still advertising as address owner, please "
                "resolve - reducing our priority"
            )
        case v.VipsHeld():
            yield f"({event.instance}) setting VIPs."
        case v.VipsReleased():
            yield f"({event.instance}) removing VIPs."
        case v.LinkChanged(change="up" | "down"):
            yield f"Netlink reports {event.interface} {event.change}"
        case v.LinkChanged(change="missing"):
            yield f"Interface {event.interface} deleted"
        case v.TrackChanged():
            yield from _track_changed(event)
        case v.VrrpUnknownVrid():
            yield (
                f"Unknown VRID({event.vrid}) received on interface({event.interface}). ignoring..."
            )
        case v.VrrpLate():
            yield f"A thread timer expired {event.late} ago"
        case _:
            pass


def _state_changed(event: v.VrrpStateChanged) -> Iterator[str]:
    name, init = event.instance, ""
    if event.new == "MASTER" and event.cause in _BECOMES_MASTER:
        yield _BECOMES_MASTER[event.cause].format(name)
    elif event.old == "MASTER" and event.cause == "a higher priority was heard":
        yield (
            f"({name}) Master received advert from {event.peer} with higher priority "
            f"{event.peer_priority}, ours {event.priority}"
        )
    elif event.old == "MASTER" and event.cause.startswith("an equal priority"):
        yield (
            f"({name}) Master received advert from {event.peer} with same priority "
            f"{event.peer_priority} but higher IP address than ours"
        )
    elif event.new == "INIT":
        yield f"({name}) sent 0 priority"
        return
    if event.old == "INIT" and event.new != "MASTER":
        init = " (init)"
    yield f"({name}) Entering {event.new} STATE{init}"


def _fault(text: str) -> str:
    found = _FAULT.match(text)
    kind, name = (found["kind"], found["name"] or "") if found else (text, "")
    match kind:
        case "interface down" | "tracked interface down":
            return f" (interface {name} down)" if name else " (interface down)"
        case "no source address":
            return " (no IPv4 address for interface)"
        case "script failed":
            return f" due to script {name}"
        case "tracked file":
            return f" (tracked file {name} has a fault status)"
        case "too few or too many processes":
            return f" (tracked process {name} quorum not achieved)"
        case _:
            return f" ({text})"


def _track_changed(event: v.TrackChanged) -> Iterator[str]:
    kind, _, name = event.track.partition(" ")
    match kind, event.status:
        case "script", "well":
            yield f"VRRP_Script({name}) succeeded"
        case "script", "failed":
            if "time" in event.detail:
                yield f"VRRP_Script({name}) timed_out"
            else:
                status = re.search(r"status (\d+)", event.detail)
                yield f"VRRP_Script({name}) failed ({_exited(status, event.detail)})"
        case "process", "well":
            yield f"Quorum gained for tracked process {name}"
        case "process", "failed":
            yield f"Quorum lost for tracked process {name}"
        case _:
            pass


def _exited(status: re.Match[str] | None, detail: str) -> str:
    return f"exited with status {status[1]}" if status else detail


def _of_checker(event: Event) -> Iterator[str]:
    match event:
        case e.RealServerUp():
            server, service = _service(event.real_server, event.virtual_server), event
            check = event.reason.partition(" ")[0]
            if check in _CHECKS:
                yield _CHECKS[check].format(server)
            yield f"Adding service {server} to VS {_virtual(service.virtual_server)}"
        case e.RealServerDown():
            server = _service(event.real_server, event.virtual_server)
            check = event.check.partition(" ")[0]
            retries = f" after {event.attempts - 1} retries" if event.attempts > 1 else ""
            yield f"{_FAILURES.get(check, check)} on service {server} failed{retries}."
            yield f"Removing service {server} from VS {_virtual(event.virtual_server)}"
        case e.WeightChanged():
            server = _service(event.real_server, event.virtual_server)
            yield (
                f"Changing weight from {event.before} to {event.weight} for active service "
                f"{server} of VS {_virtual(event.virtual_server)}"
            )
        case e.QuorumGained():
            yield from _quorum_gained(event)
        case e.QuorumLost():
            yield from _quorum_lost(event)
        case e.QuorumMissing():
            virtual = _virtual(event.virtual_server)
            yield f"Starting with quorum down {event.needed} > {event.weight} for VS {virtual}"
        case e.ServiceRemoved():
            yield f"Removing Virtual Server {_virtual(event.service)}"
        case _:
            pass


def _quorum_gained(event: e.QuorumGained) -> Iterator[str]:
    virtual = _virtual(event.virtual_server)
    yield f"Gained quorum {event.needed} <= {event.weight} for VS {virtual}"
    if event.sorry_server:
        server = _service(event.sorry_server, event.virtual_server)
        yield f"Removing sorry server {server} from VS {virtual}"
        yield f"Adding alive servers to the pool for VS {virtual}"


def _quorum_lost(event: e.QuorumLost) -> Iterator[str]:
    virtual = _virtual(event.virtual_server)
    yield f"Lost quorum {event.needed} > {event.weight} for VS {virtual}"
    if event.sorry_server:
        server = _service(event.sorry_server, event.virtual_server)
        yield f"Adding sorry server {server} to VS {virtual}"
        yield f"Removing alive servers from the pool for VS {virtual}"


def _of_parent(event: Event) -> Iterator[Line]:
    match event:
        case e.DaemonStarted():
            yield Line(_PARENT, f"Starting Keepalived (lvskeeper) v{event.version}")
        case e.DaemonReady():
            yield Line(_PARENT, "Startup complete")
        case e.ReloadApplied():
            yield Line(_PARENT, "Reloading ...")
            yield Line(_PARENT, "Reload complete")
        case e.ReloadRefused():
            yield Line(_PARENT, "Reloading ...")
            yield Line(_PARENT, f"({event.file}) {event.first}", Level.ERROR)
            yield Line(_PARENT, "New config failed validation, see the log for details")
        case e.RoleDied():
            child = "Healthcheck" if event.process == "director" else "VRRP"
            yield Line(_PARENT, f"{child} child process died: Respawning", Level.ERROR)
        case e.DaemonStopping():
            yield Line(_PARENT, "Stopping")
        case e.DaemonStopped():
            yield Line(_PARENT, "Stopped Keepalived (lvskeeper)")
        case _:
            pass


def _virtual(name: str) -> str:
    """Return keepalived's form of the *name* of a virtual server."""
    if found := _ENDPOINT.fullmatch(name):
        protocol, bracketed, plain, port = found.groups()
        return f"[{bracketed or plain}]:{protocol or 'tcp'}:{port}"
    mark = re.match(r"fwmark (\d+)", name)
    return f"FWM {mark[1]}" if mark else f"[{name}]:0"


def _service(server: str, virtual: str) -> str:
    """Return keepalived's form of a real *server*; its protocol is that of its *virtual* server."""
    found = _ENDPOINT.fullmatch(server)
    if found is None:
        return server
    protocol = virtual.partition(" ")[0]
    protocol = protocol if protocol in {"tcp", "udp", "sctp"} else "tcp"
    return f"[{found[2] or found[3]}]:{protocol}:{found[4]}"
