"""What the real servers behind SYN cookies offer, and what is promised to their clients for them.

A cookie promises segment size and window scale before a real server is chosen; both should be the
server's own. Every check that makes a connection tells what its server offers.
"""

from collections.abc import Iterable
from typing import Final, final

from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.daemon.ruleset import Measured
from lvskeeper.fullnat.synproxy import MSS_LIMITS
from lvskeeper.health.spec import TcpOffer
from lvskeeper.ipvs.types import DestKey, ServiceKey
from lvskeeper.observe.fullnat_events import SynProxyMismatch
from lvskeeper.observe.log import Emit

_TOO_HIGH: Final = "clients may send more than the server has room for"
_TOO_LOW: Final = "windows look smaller to clients than they are, which limits throughput"
_TOO_LONG: Final = "clients may send segments that the server did not agree to"
_TOO_SHORT: Final = "clients send shorter segments than the server takes"


@final
class OfferBook:
    """The last offer of each real server; a virtual server's promise is the least of them."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._offers: dict[str, dict[DestKey, TcpOffer]] = {}
        self._least: dict[str, tuple[int, int]] = {}
        """Of those that have offers, as of the last :meth:`measured`."""
        self._fresh: set[str] = set()
        """Virtual servers that have changed since."""
        self._told: dict[tuple[str, str], tuple[int, tuple[int, ...]]] = {}
        self.changed = False
        """An offer is another than before; :meth:`measured` has it in."""

    def follow(self, spec: DirectorSpec) -> None:
        """Note the offers of the servers of *spec* from now on, and of no others."""
        kept: dict[str, dict[DestKey, TcpOffer]] = {}
        for virtual in spec.virtual_servers:
            if virtual.syn_proxy is not None:
                known = self._offers.get(virtual.name, {})
                servers = {server_key(server) for server in virtual.real_servers}
                kept[virtual.name] = {key: known[key] for key in servers & known.keys()}
        self.changed = self.changed or kept != self._offers
        self._offers = kept
        self._least.clear()
        self._fresh = set(kept)
        self._told = {key: told for key, told in self._told.items() if key[0] in kept}

    def note(self, name: str, server: DestKey, offer: TcpOffer) -> None:
        """Take what *server* of the virtual server *name* offers."""
        offers = self._offers.get(name)
        if offers is not None and offers.get(server) != offer:
            offers[server] = offer
            self._fresh.add(name)
            self.changed = True

    def measured(self, spec: DirectorSpec) -> Measured:
        """Return the least offers by service; tell where a promise fits not all servers."""
        self.changed = False
        found: dict[ServiceKey, tuple[int, int]] = {}
        for virtual in spec.virtual_servers:
            if virtual.name in self._fresh:
                self._measure(virtual)
            if virtual.name in self._least:
                found.update(dict.fromkeys(virtual.keys, self._least[virtual.name]))
        self._fresh.clear()
        return found

    def _measure(self, virtual: VirtualServerSpec) -> None:
        offers = self._offers[virtual.name].values()
        if offers:
            sizes = _distinct(offer.mss for offer in offers)
            scales = _distinct(offer.wscale or 0 for offer in offers)
            low, high = MSS_LIMITS
            self._least[virtual.name] = min(max(sizes[0], low), high), scales[0]
            self._compare(virtual, sizes, scales)

    def _compare(
        self, virtual: VirtualServerSpec, sizes: tuple[int, ...], scales: tuple[int, ...]
    ) -> None:
        asked = virtual.syn_proxy
        assert asked is not None
        mss = sizes[0] if asked.mss is None else asked.mss
        wscale = scales[0] if asked.wscale is None else asked.wscale
        self._tell(virtual.name, "mss", mss, sizes, (_TOO_LONG, _TOO_SHORT))
        if asked.timestamp:  # without, no window scale is promised
            self._tell(virtual.name, "wscale", wscale, scales, (_TOO_HIGH, _TOO_LOW))

    def _tell(
        self,
        name: str,
        option: str,
        promised: int,
        offered: tuple[int, ...],
        consequences: tuple[str, str],
    ) -> None:
        """Tell a difference once, until it is another."""
        fits = offered == (promised,)
        before = self._told.pop((name, option), None)
        if fits:
            return
        self._told[name, option] = (promised, offered)
        if before != (promised, offered):
            above, below = consequences
            consequence = above if promised > offered[0] else below
            values = ", ".join(map(str, offered))
            self._emit(SynProxyMismatch(name, option, promised, values, consequence))


def _distinct(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))
