"""The event catalogue: everything that lvskeeper says while it runs, one class an event.

The class is the single source: its docstring is the meaning, ``CURE`` what to do, the annotated
fields what is told. Event names and fields are stable; ``docs/events.md`` is generated from here.
"""

from enum import IntEnum
from typing import Annotated, ClassVar, final

import msgspec


@final
class Level(IntEnum):
    """How urgent an event is; the values are syslog's (RFC 5424, 6.2.1)."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class Event(msgspec.Struct, frozen=True):
    """Base of all events."""

    NAME: ClassVar[str]
    LEVEL: ClassVar[Level] = Level.INFO
    CURE: ClassVar[str] = ""


@final
class DaemonStarted(Event, frozen=True):
    """The supervisor runs and begins to load the configuration."""

    NAME: ClassVar = "daemon_started"
    version: Annotated[str, "version of lvskeeper"]
    file: Annotated[str, "configuration file"]
    run_dir: Annotated[str, "runtime directory"]


@final
class DaemonReady(Event, frozen=True):
    """The first configuration is in the kernel and was read back equal."""

    NAME: ClassVar = "daemon_ready"
    LEVEL: ClassVar = Level.NOTICE
    virtual_servers: Annotated[int, "virtual servers served"]
    real_servers: Annotated[int, "real servers configured"]
    vrrp_instances: Annotated[int, "VRRP instances that take part"]
    operations: Annotated[int, "changes that the kernel's table needed; 0 after a clean adoption"]
    refused: Annotated[int, "operations that the kernel refused, each told on its own"]
    took: Annotated[str, "time from start to here"]


@final
class ConfigurationRefused(Event, frozen=True):
    """The configuration file has errors, and the daemon does not start with it."""

    NAME: ClassVar = "configuration_refused"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Mend the places named; `lvskeeper check FILE` shows them all."
    file: Annotated[str, "configuration file"]
    errors: Annotated[int, "number of errors"]
    first: Annotated[str, "the first error, with its place"]


@final
class ConfigurationWarned(Event, frozen=True):
    """The configuration is accepted, but something in it deserves a look."""

    NAME: ClassVar = "configuration_warned"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "`lvskeeper check FILE` shows every line with its hint."
    file: Annotated[str, "configuration file"]
    warnings: Annotated[int, "number of warnings"]
    first: Annotated[str, "the first one, with its place"]


@final
class ReloadApplied(Event, frozen=True):
    """A reload is in the kernel and was read back equal."""

    NAME: ClassVar = "reload_applied"
    LEVEL: ClassVar = Level.NOTICE
    operations: Annotated[int, "changes made to the kernel's table"]
    virtual_servers: Annotated[int, "virtual servers served"]
    vrrp_instances: Annotated[int, "VRRP instances that take part"]
    refused: Annotated[int, "operations that the kernel refused, each told on its own"]
    took: Annotated[str, "time from the begin of the reload to here"]


@final
class ReloadRefused(Event, frozen=True):
    """The new file has errors; nothing was changed, the running configuration stays."""

    NAME: ClassVar = "reload_refused"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Mend the places named, check with `lvskeeper check FILE`, reload again."
    file: Annotated[str, "configuration file"]
    errors: Annotated[int, "number of errors"]
    first: Annotated[str, "the first error, with its place"]


@final
class ApplyFailed(Event, frozen=True):
    """The configuration could not be brought into the kernel."""

    NAME: ClassVar = "apply_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "The message names the cause, the hint the cure."
    message: Annotated[str, "what failed, and why"]
    hint: Annotated[str, "what to do"]


@final
class UpkeepFailed(Event, frozen=True):
    """Looking after the kernel's tables failed; it is tried again, and told once until it works."""

    NAME: ClassVar = "upkeep_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "The message names the cause, the hint the cure."
    message: Annotated[str, "what failed, and why"]
    hint: Annotated[str, "what to do"]


@final
class FlightRecorded(Event, frozen=True):
    """The flight recorder has written what was told, heard and probed in the last minutes."""

    NAME: ClassVar = "flight_recorded"
    CURE: ClassVar = "`lvskeeper replay FILE` shows it, and lets the VRRP machines do it again."
    file: Annotated[str, "the recording"]
    reason: Annotated[str, "event that asked for it, or who"]
    size: Annotated[int, "bytes"]
    took: Annotated[str, "time to gather and to write it"]


@final
class OperationRefused(Event, frozen=True):
    """The kernel refused one change; the rest is in place, and it is tried again."""

    NAME: ClassVar = "operation_refused"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "The reason names what the kernel misses or dislikes."
    operation: Annotated[str, "the change"]
    reason: Annotated[str, "why, in words"]


@final
class ProbeBroken(Event, frozen=True):
    """The director itself could not probe; nothing is known about the server."""

    NAME: ClassVar = "probe_broken"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Give the director what the reason names: a file, an address, open files."
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check"]
    reason: Annotated[str, "what went wrong here"]


@final
class DaemonStopping(Event, frozen=True):
    """A stop was asked for."""

    NAME: ClassVar = "daemon_stopping"
    LEVEL: ClassVar = Level.NOTICE
    reason: Annotated[str, "the signal, or what else asked for it"]


@final
class DaemonStopped(Event, frozen=True):
    """The daemon ends; its services are gone from the kernel unless they were to be kept."""

    NAME: ClassVar = "daemon_stopped"
    LEVEL: ClassVar = Level.NOTICE
    kept: Annotated[bool, "whether services were left in the kernel (`lvs_keep_on_stop`)"]
    took: Annotated[str, "time from the request to here"]


@final
class RoleDied(Event, frozen=True):
    """A role process ended on its own; the kernel's table stays and a new process adopts it."""

    NAME: ClassVar = "role_died"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Look for the cause just above; report it if it is a traceback."
    process: Annotated[str, "director or router"]
    status: Annotated[str, "how it ended"]
    restart_in: Annotated[str, "pause before it is started again"]


@final
class RoleRevived(Event, frozen=True):
    """A role process runs again after it had died."""

    NAME: ClassVar = "role_revived"
    LEVEL: ClassVar = Level.NOTICE
    process: Annotated[str, "director or router"]
    operations: Annotated[int, "changes that the kernel needed; 0 where nobody touched it"]


@final
class StopIncomplete(Event, frozen=True):
    """A stop, of the daemon or of a role, left something of ours in the kernel."""

    NAME: ClassVar = "stop_incomplete"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Remove it by hand (ipvsadm -D, nft delete table inet lvskeeper, ip address)."
    reason: Annotated[str, "what is left, and why"]


@final
class RoleStuck(Event, frozen=True):
    """A role process gave no sign of life for too long and is killed."""

    NAME: ClassVar = "role_stuck"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Look for overload of the machine; a role beats once a second."
    process: Annotated[str, "director or router"]
    silent: Annotated[str, "time without a beat"]


@final
class KernelReady(Event, frozen=True):
    """The kernel's IPVS answers."""

    NAME: ClassVar = "kernel_ready"
    dialect: Annotated[str, "mainline, fork-v2 or fork-v3"]
    fullnat: Annotated[str, "how FULLNAT is done: native, or nftables"]


@final
class TableAdopted(Event, frozen=True):
    """Services that the configuration names were in the kernel already and were taken over."""

    NAME: ClassVar = "table_adopted"
    LEVEL: ClassVar = Level.NOTICE
    services: Annotated[int, "services found"]
    destinations: Annotated[int, "their destinations"]
    down: Annotated[int, "real servers absent there, which start as down"]


@final
class ServiceAdded(Event, frozen=True):
    """A virtual service was put into the kernel's table."""

    NAME: ClassVar = "service_added"
    service: Annotated[str, "the service"]


@final
class ServiceChanged(Event, frozen=True):
    """A virtual service was edited in place."""

    NAME: ClassVar = "service_changed"
    service: Annotated[str, "the service"]
    change: Annotated[str, "the operation"]


@final
class ServiceRemoved(Event, frozen=True):
    """A virtual service was taken out of the kernel's table."""

    NAME: ClassVar = "service_removed"
    service: Annotated[str, "the service"]


@final
class RealServerUp(Event, frozen=True):
    """A real server answers again and receives new connections."""

    NAME: ClassVar = "real_server_up"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    reason: Annotated[str, "the check that succeeded"]


@final
class RealServerDown(Event, frozen=True):
    """A real server failed its check and receives no new connections."""

    NAME: ClassVar = "real_server_down"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Look at the real server; phase and reason tell how far the probe came."
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check that failed"]
    attempts: Annotated[int, "failed probes in a row that decided"]
    phase: Annotated[str, "where the probe ended: connect, tls, send, status, body, timeout"]
    reason: Annotated[str, "what happened there"]
    probe_took: Annotated[str, "duration of the deciding probe"]


@final
class ProbeFailed(Event, frozen=True):
    """A probe failed, and further tries follow before the server counts as down."""

    NAME: ClassVar = "probe_failed"
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check"]
    phase: Annotated[str, "where the probe ended"]
    reason: Annotated[str, "what happened there"]
    attempt: Annotated[str, "which try of how many"]
    took: Annotated[str, "time from the start of the probe"]


@final
class RealServerHeld(Event, frozen=True):
    """A real server answers again, but has gone down too often: it has to be well for a while."""

    NAME: ClassVar = "real_server_held"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Find out why the server comes and goes; flap_damping says when it is held."
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check"]
    wait: Annotated[str, "for how long it has to answer well before it serves again"]


@final
class CheckUnknown(Event, frozen=True):
    """A check has found out nothing for three intervals: its state is unknown.

    The real server goes on as it was.
    """

    NAME: ClassVar = "check_unknown"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "See what keeps the director from probing: probe_broken, load, a stopped host."
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check"]
    silent: Annotated[str, "time without a result"]


@final
class CertificateExpires(Event, frozen=True):
    """The certificate of a real server is about to expire, or has; told once a day."""

    NAME: ClassVar = "certificate_expires"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Renew the certificate on the real server."
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check"]
    expires: Annotated[str, "end of its validity (ISO 8601, UTC)"]
    days: Annotated[int, "whole days until then; -1: it has expired"]


@final
class WeightChanged(Event, frozen=True):
    """A check has given a real server another weight."""

    NAME: ClassVar = "weight_changed"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    real_server: Annotated[str, "the real server"]
    check: Annotated[str, "the check"]
    before: Annotated[int, "the weight that it had"]
    weight: Annotated[int, "the weight that it has now"]


@final
class QuorumGained(Event, frozen=True):
    """Enough weight is alive: the virtual server is served by its real servers."""

    NAME: ClassVar = "quorum_gained"
    LEVEL: ClassVar = Level.NOTICE
    virtual_server: Annotated[str, "the virtual server"]
    weight: Annotated[int, "weight of its live real servers"]
    needed: Annotated[int, "quorum plus hysteresis"]
    sorry_server: Annotated[str, "the sorry server that leaves, if there is one"]


@final
class QuorumMissing(Event, frozen=True):
    """A virtual server starts without its quorum; a sorry server, where there is one, stands in."""

    NAME: ClassVar = "quorum_missing"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Bring real servers up, or lower `quorum`."
    virtual_server: Annotated[str, "the virtual server"]
    weight: Annotated[int, "weight of its live real servers"]
    needed: Annotated[int, "quorum plus hysteresis"]


@final
class QuorumLost(Event, frozen=True):
    """Too little weight is alive: the sorry server takes over, or nobody serves."""

    NAME: ClassVar = "quorum_lost"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Bring real servers back, or lower `quorum`; a sorry server bridges the time."
    virtual_server: Annotated[str, "the virtual server"]
    weight: Annotated[int, "weight of its live real servers"]
    needed: Annotated[int, "quorum minus hysteresis"]
    sorry_server: Annotated[str, "the sorry server that takes over, if there is one"]


@final
class HealthApplied(Event, frozen=True):
    """What the results of checks decided is in the kernel's table."""

    NAME: ClassVar = "health_applied"
    LEVEL: ClassVar = Level.DEBUG
    virtual_servers: Annotated[str, "the virtual servers concerned"]
    operations: Annotated[int, "changes made to the table, in one batch"]
    refused: Annotated[int, "of these, refused by the kernel"]
    took: Annotated[str, "time from the first deciding result to the kernel's acknowledgement"]


@final
class DriftRepaired(Event, frozen=True):
    """Somebody else changed the kernel's IPVS table; it is as configured again."""

    NAME: ClassVar = "drift_repaired"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Find who else writes: ipvsadm, keepalived, another lvskeeper, a boot script."
    differences: Annotated[int, "number of differences"]
    repaired: Annotated[str, "the operations, the first few in words"]
    took: Annotated[str, "time from finding to mending"]


@final
class SysctlSet(Event, frozen=True):
    """A sysctl that FULLNAT, a VMAC or PING_CHECK needs was set."""

    NAME: ClassVar = "sysctl_set"
    LEVEL: ClassVar = Level.NOTICE
    sysctl: Annotated[str, "its name"]
    before: Annotated[str, "its value before"]
    value: Annotated[str, "its value now"]


@final
class SysctlWrong(Event, frozen=True):
    """A sysctl does not have the value that FULLNAT, a VMAC or PING_CHECK needs."""

    NAME: ClassVar = "sysctl_wrong"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Set it in /etc/sysctl.d, or allow `lvs_manage_sysctls yes`."
    sysctl: Annotated[str, "its name"]
    value: Annotated[str, "its value, or why it cannot be read or set"]
    wanted: Annotated[str, "the value that is needed"]
    consequence: Annotated[str, "what does not work otherwise"]


@final
class ScriptDone(Event, frozen=True):
    """A notify or quorum script ended with status 0."""

    NAME: ClassVar = "script_done"
    subject: Annotated[str, "whose transition it was run for"]
    command: Annotated[str, "the command"]
    took: Annotated[str, "its duration"]


@final
class ScriptsSkipped(Event, frozen=True):
    """Scripts of one subject came faster than they end; all but the latest were dropped unrun."""

    NAME: ClassVar = "scripts_skipped"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Let the script be quicker, or find out why the state flaps."
    subject: Annotated[str, "whose transitions they were for"]
    skipped: Annotated[int, "scripts that were not run"]


@final
class ScriptFailed(Event, frozen=True):
    """A notify or quorum script failed, timed out, or could not be started."""

    NAME: ClassVar = "script_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Run it by hand as its user; the output is its last lines."
    subject: Annotated[str, "whose transition it was run for"]
    command: Annotated[str, "the command"]
    status: Annotated[str, "how it ended"]
    output: Annotated[str, "its last output"]


@final
class LogLinesLost(Event, frozen=True):
    """Nobody read the log for so long that lines had to be dropped; the role did not wait."""

    NAME: ClassVar = "log_lines_lost"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Find out what holds up the reader: the journal, a pipe, a terminal."
    lines: Annotated[int, "lines that were dropped"]


@final
class DumpFailed(Event, frozen=True):
    """A dump of keepalived's form, which a signal asked for, could not be written."""

    NAME: ClassVar = "dump_failed"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Give `run --dump-dir` a directory that the daemon's user may write to."
    file: Annotated[str, "its name"]
    reason: Annotated[str, "why"]


@final
class RepeatsSuppressed(Event, frozen=True):
    """The same was told several times within a minute; from then on it was only counted.

    `--log-level debug` tells all of them.
    """

    NAME: ClassVar = "repeats_suppressed"
    LEVEL: ClassVar = Level.NOTICE
    of: Annotated[str, "name of the event"]
    times: Annotated[int, "how often it happened without being told"]
    during: Annotated[str, "time from the first one to here"]
    latest: Annotated[str, "the fields of the latest one"]


def catalogue() -> tuple[type[Event], ...]:
    """Return all event classes, sorted by name."""
    # Their classes register themselves
    import lvskeeper.observe.dry_run_events  # noqa: PLC0415 - see above
    import lvskeeper.observe.fullnat_events  # noqa: PLC0415 - see above
    import lvskeeper.observe.health_events  # noqa: PLC0415 - see above
    import lvskeeper.observe.order_events  # noqa: PLC0415 - see above
    import lvskeeper.observe.vrrp_events  # noqa: F401, PLC0415 - see above

    by_name = {kind.NAME: kind for kind in Event.__subclasses__()}
    return tuple(by_name[name] for name in sorted(by_name))
