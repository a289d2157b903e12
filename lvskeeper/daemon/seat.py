"""What the router role knows of one instance besides its machine: packets, peers and counters."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, final

from lvskeeper.daemon.router_spec import InstanceConfig
from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.announce import Place
from lvskeeper.vrrp.auth import AuthKind
from lvskeeper.vrrp.auth_hmac import ReplayGuard, next_sequence
from lvskeeper.vrrp.effects import StateChanged
from lvskeeper.vrrp.packet import GROUP4, GROUP6, encode, encode_signed, encode_with_hmac
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import Advert, InstanceKey
from lvskeeper.vrrp.validate import Accepted, NoteKind, Received, Reject, RejectKind, validate

MAX_PEERS: Final = 16
"""Routers remembered an instance; the one that was silent for longest goes first."""


@final
@dataclass(slots=True)
class PeerSeen:
    """A router whose adverts counted."""

    priority: int
    adverts: int
    heard: float
    """When last, monotonic seconds."""


@final
@dataclass(slots=True)
class Counters:
    """Totals since the instance came into being; a reload keeps them."""

    sent: int = 0
    received: int = 0
    zero_sent: int = 0
    zero_received: int = 0
    became_master: int = 0
    released_master: int = 0
    late: int = 0
    lost: int = 0
    """Addresses, routes and rules that somebody else removed."""
    rejected: Counter[RejectKind] = field(default_factory=Counter)


@final
class WireKey(NamedTuple):
    """An interface (none for unicast from everywhere) and an address family."""

    device: str
    family: int


@final
class Seat:
    """One instance as the shell drives it."""

    def __init__(self, config: InstanceConfig) -> None:
        self.config = config
        self.source: Address = config.spec.source
        """Our address in adverts."""
        self.counters: Final = Counters()
        self.peers: Final[dict[Address, PeerSeen]] = {}
        self.told: Final[set[RejectKind | NoteKind]] = set()
        """What was complained of since the last transition."""
        self.insisted: Final[set[Address]] = set()
        """Weaker routers that were told of since the last transition, not more than
        :data:`~.record.MAX_COMPLAINTS`."""
        self.aside = -inf
        """When it was last announced from interfaces without adverts."""
        self.mute = False
        """The last advert could not be sent."""
        self.change: StateChanged | None = None
        """The last transition."""
        self.sequence = 0
        """The highest one of an authentication header, heard or sent: ours go on from it."""
        self.heard_sequence = 0
        """The highest one that was accepted. What crosses ours on the wire may have the same number
        as ours, and is no replay."""
        self.hmac_sequence: int | None = None
        """The last one that we signed with."""
        self._guard: Final = ReplayGuard()
        self._messages: dict[tuple[Address, int, Address], bytes] = {}
        self._memo: Received | None = None
        self._remembered: Accepted | None = None
        self.configure(config)

    def configure(self, config: InstanceConfig) -> None:
        """Go on with another configuration of the same instance."""
        self.config = config
        self._messages.clear()
        self._memo = None
        group = config.group or (GROUP6 if config.spec.key.family == 6 else GROUP4)
        peers = tuple(peer.address for peer in config.rules.peers)
        self.destinations: tuple[Address, ...] = peers or (group,)
        self.ttl = config.ttl if peers else 255
        self.key: InstanceKey = config.spec.key
        vmac = config.vmac
        self.device = vmac.name if vmac and not vmac.xmit_base else self.key.interface
        """The interface that adverts leave and arrive on; none for unicast without one."""
        self.wire = WireKey(self.device, self.key.family)
        self.signed = config.rules.auth.kind is AuthKind.AH
        """Whether adverts have an authentication header."""
        self.places = tuple(Place(held.device, held.address) for held in config.addresses)

    @property
    def name(self) -> str:
        """The configured name."""
        return self.config.spec.name

    @property
    def groups(self) -> tuple[Address, ...]:
        """The multicast groups to join."""
        return () if self.config.rules.peers else self.destinations

    def messages(self, priority: int, wall: float) -> Iterator[tuple[Address, bytes]]:
        """Yield our advert for each destination: an IP payload, or with AH a whole packet.

        *wall* is the time of day, which ``auth_hmac`` signs.
        """
        rules = self.config.rules
        if rules.hmac is not None:
            last = self.hmac_sequence = next_sequence(rules.hmac, self.hmac_sequence, wall)
            for destination in self.destinations:
                yield destination, encode_with_hmac(
                    self._advert(priority), self.source, destination,
                    hmac=rules.hmac, sequence=last, checksum=rules.checksum,
                )  # fmt: skip
            return
        for destination in self.destinations:
            yield destination, self._message(priority, destination)

    def _message(self, priority: int, destination: Address) -> bytes:
        rules = self.config.rules
        if self.signed:
            self.sequence += 1
            return encode_signed(
                self._advert(priority), self.source, destination,
                secret=rules.auth.secret, sequence=self.sequence, ttl=self.ttl,
            )  # fmt: skip
        name = (self.source, priority, destination)
        known = self._messages.get(name)
        if known is None:
            # Priorities and sources are few, yet a source may change again and again.
            if len(self._messages) > MAX_PEERS * len(self.destinations):
                self._messages.clear()
            known = self._messages[name] = encode(
                self._advert(priority), self.source, destination,
                auth=rules.auth, checksum=rules.checksum,
            )  # fmt: skip
        return known

    def _advert(self, priority: int) -> Advert:
        spec = self.config.spec
        return Advert(spec.version, spec.key.vrid, priority, spec.interval, spec.addresses)

    def recall(self, received: Received) -> Accepted | None:
        """Return what the last accepted packet was worth if this is the same one, else nothing.

        A master says the same again and again, and a receiver returns the same object for it.
        """
        return self._remembered if received is self._memo else None

    def judge(self, received: Received, master: Address, wall: float) -> Accepted | Reject:
        """Return what a packet is worth; *master* is whom a backup hears, *wall* the time of day.

        What was accepted without a doubt is remembered, for :meth:`recall`.
        """
        verdict = validate(
            received,
            self.config.rules,
            sequence=self.heard_sequence,
            skip_addresses=self.config.skip_addresses and received.source == master != NO_ADDRESS,
            wall=wall,
            guard=self._guard,
        )
        if isinstance(verdict, Accepted):
            if verdict.sequence is not None:
                self.heard_sequence = verdict.sequence
                self.sequence = max(self.sequence, verdict.sequence)
            elif not verdict.notes and self.config.rules.hmac is None:
                self._memo, self._remembered = received, verdict
        return verdict

    def note_peer(self, accepted: Accepted, now: float) -> None:
        """Count an advert that was accepted."""
        self.counters.received += 1
        priority = accepted.advert.priority
        if not priority:
            self.counters.zero_received += 1
        seen = self.peers.get(accepted.source)
        if seen is None:
            if len(self.peers) >= MAX_PEERS:
                del self.peers[min(self.peers, key=lambda peer: self.peers[peer].heard)]
            seen = self.peers[accepted.source] = PeerSeen(priority, 0, now)
        seen.priority, seen.heard = priority, now
        seen.adverts += 1

    def transition(self, change: StateChanged) -> None:
        """Count a change of state, and complain anew of what is wrong."""
        self.change = change
        self.counters.became_master += change.new is State.MASTER
        self.counters.released_master += change.old is State.MASTER
        self.told.clear()
        self.insisted.clear()

    def first(self, kind: RejectKind | NoteKind) -> bool:
        """Tell whether *kind* was not complained of since the last transition; now it was."""
        if kind in self.told:
            return False
        self.told.add(kind)
        return True
