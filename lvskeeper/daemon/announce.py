"""Tells what happened to real and virtual servers: events, scripts, lines of pipes, mails."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import assert_never, final

import msgspec

from lvskeeper.daemon import alerts
from lvskeeper.daemon.channel import Mail
from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.pipes import Pipes
from lvskeeper.daemon.roles import DirectorSpec, RealServerSpec, Script, VirtualServerSpec
from lvskeeper.daemon.script_log import script_events
from lvskeeper.daemon.scripts import ScriptOutcome, ScriptRunner
from lvskeeper.health.pool import (
    CheckUnknown,
    Pool,
    PoolEffect,
    ProbeBroken,
    ProbeFailed,
    QuorumGained,
    QuorumLost,
    QuorumMissing,
    QuorumPresent,
    ServerDown,
    ServerHeld,
    ServerUp,
    WeightChanged,
    effective_quorum,
)
from lvskeeper.health.spec import QuorumSpec
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe import events, vrrp_events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration


@final
class Announcer:
    """Turns the effects of health into what others are told; *send* takes mails."""

    def __init__(self, emit: Emit, send: Callable[[Mail], None]) -> None:
        self._emit = emit
        self._send = send
        self._spec = DirectorSpec()
        self._mail_settings = msgspec.Raw()
        self._scripts = ScriptRunner(self._on_script_done)
        self._pipes = Pipes(lambda text: emit(vrrp_events.NotifyTroubled(text)))
        self._kept: list[Callable[[], None]] | None = None
        """What scripts, pipes and mails are to tell, in its order, as long as it has to wait."""

    def hold(self) -> None:
        """Let scripts, pipes and mails wait for :meth:`release`: the kernel has to be ready first.

        Who announces a route by them must not get packets before that. Events do not wait.
        """
        self._kept = self._kept or []

    def release(self) -> None:
        """Tell what had to wait; nothing has to from now on."""
        kept, self._kept = self._kept or (), None
        for tell in kept:
            tell()

    def _later(self, tell: Callable[[], None]) -> None:
        """Call *tell*, now or when nothing has to wait any more."""
        if self._kept is None:
            tell()
        else:
            self._kept.append(tell)

    def configure(self, spec: DirectorSpec) -> None:
        """Tell whom *spec* names from now on."""
        self._spec = spec
        self._mail_settings = msgspec.Raw(msgspec.json.encode(spec.mail))
        ready = any(map(_scripted, spec.virtual_servers))
        self._scripts.configure(secure=spec.script_security, ready=ready)
        self._pipes.replace(spec.fifos, secure=spec.script_security)

    @property
    def tells_present(self) -> bool:
        """Whether :meth:`present` is asked for (``rs_init_notifies``)."""
        return self._spec.init_notifies

    def tell(self, virtual: VirtualServerSpec, effects: Iterable[PoolEffect[DestKey]]) -> None:
        """Tell *effects*, and run the scripts that belong to them."""
        for effect in effects:
            self._tell_one(virtual, effect)

    def present(self, virtual: VirtualServerSpec, server: RealServerSpec) -> None:
        """Tell of a server that is up from its start."""
        self._run(virtual, server.notify_up, {"event": "up"}, server)
        self._write_server(virtual, server, "UP")

    def gone(self, virtual: VirtualServerSpec, server: RealServerSpec) -> None:
        """Tell that a server which was up is no longer configured."""
        self._server_leaves(virtual, server, "Removing", "it is taken out of the configuration")

    def leaving(
        self, virtual: VirtualServerSpec, pool: Pool[DestKey], *, stopping: bool = False
    ) -> None:
        """Tell that the service of *virtual* is about to go: by a reload, or by our stop.

        Only of what is up: a server or a quorum that is down has been told. A stop is told with
        *omega* only.
        """
        if stopping and not virtual.omega:
            return
        what = "Shutting down" if stopping else "Removing"
        reason = "the virtual server is taken out of service"
        for server in virtual.real_servers:
            if pool.up[server_key(server)]:
                self._server_leaves(virtual, server, what, reason)
        if pool.has_quorum:
            facts = {"event": "quorum_down", "reason": reason}
            self._run(virtual, virtual.quorum_down, facts)
            self._tell_virtual(virtual, "DOWN", what)

    async def close(self, deadline: float) -> None:
        """Wait for the scripts that run, *deadline* seconds at most, and for the readers."""
        self._pipes.leave()
        await self._scripts.close(deadline)
        await self._pipes.ended()

    def _tell_one(self, virtual: VirtualServerSpec, effect: PoolEffect[DestKey]) -> None:
        name = virtual.name
        match effect:
            case ProbeFailed() | ProbeBroken() | ServerHeld() | CheckUnknown() | WeightChanged():
                self._emit(_check_event(name, effect))
            case ServerUp():
                self._server_up(virtual, effect)
            case ServerDown():
                self._server_down(virtual, effect)
            case QuorumPresent():
                self._run(virtual, virtual.quorum_up, {"event": "quorum_up"})
                self._tell_virtual(virtual, "UP", _sum(virtual, effect))
            case QuorumMissing(weight=weight, needed=needed):
                self._emit(events.QuorumMissing(name, weight, needed))
                if virtual.sorry_server is not None and not effect.known:
                    self._run(virtual, virtual.quorum_down, {"event": "quorum_down"})
                    self._tell_virtual(virtual, "DOWN", _sum(virtual, effect))
            case QuorumGained(weight=weight, needed=needed):
                self._emit(events.QuorumGained(name, weight, needed, _sorry(virtual)))
                self._run(virtual, virtual.quorum_up, {"event": "quorum_up"})
                self._tell_virtual(virtual, "UP", _sum(virtual, effect))
            case QuorumLost(weight=weight, needed=needed):
                self._emit(events.QuorumLost(name, weight, needed, _sorry(virtual)))
                self._run(virtual, virtual.quorum_down, {"event": "quorum_down"})
                self._tell_virtual(virtual, "DOWN", _sum(virtual, effect))
            case _:
                assert_never(effect)

    def _server_up(self, virtual: VirtualServerSpec, effect: ServerUp[DestKey]) -> None:
        check = effect.check
        reason = f"{check} succeeded" if check else "its failed check was removed"
        self._emit(events.RealServerUp(virtual.name, str(effect.key), reason))
        server = _server(virtual, effect.key)
        self._run(virtual, server.notify_up, {"event": "up"}, server)
        self._write_server(virtual, server, "UP")
        kind = check.kind.value.replace("_", " ") if check else "CHECK"
        self._mail_server(virtual, server, "UP", f"=> {kind} succeed on service <=")

    def _server_down(self, virtual: VirtualServerSpec, effect: ServerDown[DestKey]) -> None:
        check, result = effect.check, effect.result
        why = f"{result.phase.value}: {result.detail}"
        self._emit(
            events.RealServerDown(
                virtual.name,
                str(effect.key),
                str(check),
                effect.attempts,
                result.phase.value,
                result.detail,
                format_duration(result.elapsed),
            )
        )
        server = _server(virtual, effect.key)
        self._run(virtual, server.notify_down, {"event": "down", "reason": why}, server)
        self._write_server(virtual, server, "DOWN")
        kind = check.kind.value.replace("_", " ")
        self._mail_server(virtual, server, "DOWN", f"=> {kind} failed on service : {why} <=")

    def _server_leaves(
        self, virtual: VirtualServerSpec, server: RealServerSpec, what: str, reason: str
    ) -> None:
        self._run(virtual, server.notify_down, {"event": "down", "reason": reason}, server)
        self._write_server(virtual, server, "DOWN")
        self._mail_server(virtual, server, "DOWN", f"=> {what} <=")

    def _run(
        self,
        virtual: VirtualServerSpec,
        script: Script | None,
        facts: Mapping[str, str],
        server: RealServerSpec | None = None,
    ) -> None:
        if script is None:
            return
        subject = virtual.name
        known = {**facts, "virtual_server": virtual.name, "router_id": self._spec.router_id}
        if server is not None:
            known["real_server"] = str(server_key(server))
            subject = f"{known['real_server']} of {virtual.name}"
        # What a quorum does, such as to withdraw a route, must not wait for all servers' scripts.
        urgent = server is None
        self._later(partial(self._scripts.submit, subject, script, known, urgent=urgent))

    def _write_server(
        self, virtual: VirtualServerSpec, server: RealServerSpec, state: alerts.UpDown
    ) -> None:
        line = alerts.server_line(virtual, server, state)
        self._later(partial(self._pipes.write, (virtual.name, server_key(server)), line))

    def _mail_server(
        self, virtual: VirtualServerSpec, server: RealServerSpec, state: alerts.UpDown, body: str
    ) -> None:
        if server.mail:
            router = self._spec.router_id
            self._mail(alerts.server_subject(router, virtual, server, state), body)

    def _tell_virtual(self, virtual: VirtualServerSpec, state: alerts.UpDown, what: str) -> None:
        """Write the line of a virtual server, and mail *what* became of it."""
        line = alerts.virtual_line(virtual, state)
        self._later(partial(self._pipes.write, virtual.name, line))
        if virtual.mail:
            router = self._spec.router_id
            self._mail(alerts.virtual_subject(router, virtual, state), f"=> {what} <=")

    def _mail(self, subject: str, body: str) -> None:
        mail = self._spec.mail
        if mail.server and mail.recipients:
            self._later(partial(self._send, Mail(self._mail_settings, subject, body)))

    def _on_script_done(self, outcome: ScriptOutcome) -> None:
        for event in script_events(outcome):
            self._emit(event)


def _check_event(
    name: str,
    effect: ProbeFailed[DestKey]
    | ProbeBroken[DestKey]
    | ServerHeld[DestKey]
    | CheckUnknown[DestKey]
    | WeightChanged[DestKey],
) -> events.Event:
    """Return what is told of a check, without a script."""
    where = (name, str(effect.key), str(effect.check))
    match effect:
        case ProbeFailed(result=result):
            attempt = f"{effect.attempt} of {effect.attempts}"
            took = format_duration(result.elapsed)
            return events.ProbeFailed(*where, result.phase.value, result.detail, attempt, took)
        case ProbeBroken(result=result):
            return events.ProbeBroken(*where, result.detail)
        case ServerHeld(seconds=seconds):
            return events.RealServerHeld(*where, format_duration(seconds))
        case CheckUnknown(seconds=seconds):
            return events.CheckUnknown(*where, format_duration(seconds))
        case WeightChanged(before=before, weight=weight):
            return events.WeightChanged(*where, before, weight)
        case _:
            assert_never(effect)


def _server(virtual: VirtualServerSpec, key: DestKey) -> RealServerSpec:
    return next(item for item in virtual.real_servers if server_key(item) == key)


def _scripted(virtual: VirtualServerSpec) -> bool:
    if virtual.quorum_up or virtual.quorum_down:
        return True
    return any(one.notify_up or one.notify_down for one in virtual.real_servers)


def _sorry(virtual: VirtualServerSpec) -> str:
    return str(server_key(virtual.sorry_server)) if virtual.sorry_server else ""


def _quorum(virtual: VirtualServerSpec) -> QuorumSpec:
    return effective_quorum(virtual.quorum, sum(item.weight for item in virtual.real_servers))


def _sum(
    virtual: VirtualServerSpec,
    effect: QuorumGained | QuorumLost | QuorumPresent | QuorumMissing,
) -> str:
    """Return the sum that decided, as keepalived writes it, with the right sign for a loss."""
    used = _quorum(virtual)
    weight, needed = effect.weight, effect.needed
    match effect:
        case QuorumGained():
            return f"Gained quorum {used.quorum}+{used.hysteresis}={needed} <= {weight}"
        case QuorumLost():
            return f"Lost quorum {used.quorum}-{used.hysteresis}={needed} > {weight}"
        case QuorumPresent():
            text = f"{used.quorum}+{used.hysteresis}={needed} <= {weight}"
            return f"Starting with quorum up {text}"
        case QuorumMissing():
            text = f"{used.quorum}+{used.hysteresis}={needed} > {weight}"
            return f"Starting with quorum down {text}"
        case _:
            assert_never(effect)
