"""Keeps the kernel's IPVS connection-sync daemons as the configuration and VRRP want them."""

from dataclasses import replace
from typing import Final, final

from lvskeeper.daemon.roles import SyncSpec
from lvskeeper.ipvs.control import SyncDaemon, SyncState
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.log import Emit

BOTH: Final = frozenset(SyncState)


@final
class SyncKeeper:
    """Starts and stops sync daemons; only what it, or an earlier director, started it stops.

    Without an instance to follow both directions run, as with keepalived. With one, the daemon
    sends while that is master, and receives otherwise.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._spec: SyncSpec | None = None
        self._master = False
        self._ours: set[SyncState] = set()

    @property
    def wanted(self) -> bool:
        """Whether any daemon is configured or runs by us."""
        return self._spec is not None or bool(self._ours)

    @property
    def running(self) -> str:
        """What the daemons do that run by us: ``master``, ``backup``, ``both`` or ``none``."""
        states = [state.name.lower() for state in self._ours]
        return "both" if len(states) > 1 else states[0] if states else "none"

    @property
    def lacking(self) -> bool:
        """Whether a daemon that is to run does not."""
        return not self._directions() <= self._ours

    def configure(self, spec: SyncSpec | None) -> None:
        """Go by *spec* from the next :meth:`settle` on."""
        if self._spec is not None and spec != self._spec:
            # What runs by the old one is to be stopped, or replaced.
            self._ours |= self._directions()
        self._spec = spec

    def follow(self, *, master: bool) -> None:
        """Take the state of the instance that is followed."""
        self._master = master

    def _directions(self) -> frozenset[SyncState]:
        if self._spec is None:
            return frozenset()
        if not self._spec.follows:
            return BOTH
        return frozenset({SyncState.MASTER if self._master else SyncState.BACKUP})

    def settle(self, client: IpvsClient) -> None:
        """Make the kernel's daemons what they are to be; raise :class:`OperatorError`.

        One that runs as wanted is let be, whoever started it.
        """
        if not self.wanted:
            return
        wanted = {
            state: replace(self._spec.daemon, state=state)
            for state in self._directions()
            if self._spec is not None
        }
        # A daemon on our interface that we did not start is an earlier director's.
        present = {daemon.state: daemon for daemon in client.daemons()}
        for state, daemon in present.items():
            ours = state in self._ours or (
                self._spec is not None and daemon.interface == self._spec.daemon.interface
            )
            if state in wanted and _is_like(daemon, wanted[state]):
                self._ours.add(state)
            elif ours:
                client.stop_daemon(state)
                self._ours.discard(state)
                self._tell(state, "stopped", daemon.interface)
        running = {daemon.state for daemon in client.daemons()}
        for state, daemon in sorted(wanted.items()):
            if state not in running:
                client.start_daemon(daemon)
                self._ours.add(state)
                self._tell(state, "started", daemon.interface)
        self._ours &= set(wanted)

    def _tell(self, state: SyncState, change: str, interface: str) -> None:
        self._emit(told.SyncDaemonChanged(state.name.lower(), change, interface))


def _is_like(present: SyncDaemon, wanted: SyncDaemon) -> bool:
    """Tell whether *present* is what *wanted* asks for; what it leaves open the kernel fills in."""
    return (present.interface, present.sync_id) == (wanted.interface, wanted.sync_id) and all(
        not asked or asked == there
        for asked, there in (
            (wanted.payload, present.payload),
            (wanted.group, present.group),
            (wanted.port, present.port),
            (wanted.ttl, present.ttl),
        )
    )
