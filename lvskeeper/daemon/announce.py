"""Tells what happened to real and virtual servers: as events, and to the operator's scripts."""

from collections.abc import Iterable, Mapping
from typing import assert_never, final

from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.roles import RealServerSpec, Script, VirtualServerSpec
from lvskeeper.daemon.script_log import script_events
from lvskeeper.daemon.scripts import ScriptOutcome, ScriptRunner
from lvskeeper.health.pool import (
    Pool,
    PoolEffect,
    ProbeBroken,
    ProbeFailed,
    QuorumGained,
    QuorumLost,
    QuorumMissing,
    ServerDown,
    ServerUp,
    WeightChanged,
)
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration


@final
class Announcer:
    """Turns the effects of health into events and scripts."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.router_id = ""
        """Told to scripts, which may serve several directors."""
        self._scripts = ScriptRunner(self._on_script_done)

    def tell(self, virtual: VirtualServerSpec, effects: Iterable[PoolEffect[DestKey]]) -> None:
        """Tell *effects*, and run the scripts that belong to them."""
        for effect in effects:
            self._tell_one(virtual, effect)

    def leaving(self, virtual: VirtualServerSpec, pool: Pool[DestKey]) -> None:
        """Run the down scripts of *virtual* where it has *omega*: its service is about to go.

        Only for what is up: a server or a quorum that is down has had its script.
        """
        if not virtual.omega:
            return
        facts = {"reason": "the virtual server is taken out of service"}
        for server in virtual.real_servers:
            if pool.up[server_key(server)]:
                self._run(virtual, server.notify_down, {"event": "down", **facts}, server)
        if pool.has_quorum:
            self._run(virtual, virtual.quorum_down, {"event": "quorum_down", **facts})

    async def close(self, deadline: float) -> None:
        """Wait for the scripts that run, *deadline* seconds at most."""
        await self._scripts.close(deadline)

    def _tell_one(self, virtual: VirtualServerSpec, effect: PoolEffect[DestKey]) -> None:
        name = virtual.name
        match effect:
            case ProbeFailed(key=key, check=check, result=result):
                attempt = f"{effect.attempt} of {effect.attempts}"
                self._emit(
                    events.ProbeFailed(
                        name, str(key), str(check), result.phase.value, result.detail, attempt
                    )
                )
            case ProbeBroken(key=key, check=check, result=result):
                self._emit(events.ProbeBroken(name, str(key), str(check), result.detail))
            case WeightChanged(key=key, check=check):
                self._emit(
                    events.WeightChanged(name, str(key), str(check), effect.before, effect.weight)
                )
            case QuorumMissing(weight=weight, needed=needed):
                self._emit(events.QuorumMissing(name, weight, needed))
            case ServerUp(key=key, check=check):
                reason = f"{check} succeeded" if check else "its failed check was removed"
                self._emit(events.RealServerUp(name, str(key), reason))
                server = _server(virtual, key)
                self._run(virtual, server.notify_up, {"event": "up"}, server)
            case ServerDown(key=key, check=check, result=result):
                self._emit(
                    events.RealServerDown(
                        name,
                        str(key),
                        str(check),
                        effect.attempts,
                        result.phase.value,
                        result.detail,
                        format_duration(result.elapsed),
                    )
                )
                server = _server(virtual, key)
                facts = {"event": "down", "reason": f"{result.phase.value}: {result.detail}"}
                self._run(virtual, server.notify_down, facts, server)
            case QuorumGained(weight=weight, needed=needed):
                self._emit(events.QuorumGained(name, weight, needed, _sorry(virtual)))
                self._run(virtual, virtual.quorum_up, {"event": "quorum_up"})
            case QuorumLost(weight=weight, needed=needed):
                self._emit(events.QuorumLost(name, weight, needed, _sorry(virtual)))
                self._run(virtual, virtual.quorum_down, {"event": "quorum_down"})
            case _:
                assert_never(effect)

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
        known = {**facts, "virtual_server": virtual.name, "router_id": self.router_id}
        if server is not None:
            known["real_server"] = str(server_key(server))
            subject = f"{known['real_server']} of {virtual.name}"
        self._scripts.submit(subject, script, known)

    def _on_script_done(self, outcome: ScriptOutcome) -> None:
        for event in script_events(outcome):
            self._emit(event)


def _server(virtual: VirtualServerSpec, key: DestKey) -> RealServerSpec:
    return next(item for item in virtual.real_servers if server_key(item) == key)


def _sorry(virtual: VirtualServerSpec) -> str:
    return str(server_key(virtual.sorry_server)) if virtual.sorry_server else ""
