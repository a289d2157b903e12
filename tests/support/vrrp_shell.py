"""A small shell around the VRRP core for tests: one thread with real sockets in a namespace.

It drives :class:`lvskeeper.vrrp.router.Router` as its docstring says, and does no more than tests
need: one interface, addresses by ``ip``, no tracking.
"""

import contextlib
import select
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final, final

from support.vrrp_net import DEVICE, inside

from lvskeeper.kernel.neighbours import Announcer
from lvskeeper.kernel.vrrp_socket import Receiver, Sender, SignedSender
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import Address, format_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.announce import Place, Planner
from lvskeeper.vrrp.auth import AuthKind
from lvskeeper.vrrp.events import LoopStalled
from lvskeeper.vrrp.packet import AH, GROUP4, GROUP6, VRRP, encode, encode_signed
from lvskeeper.vrrp.router import Router
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import Advert, InstanceKey
from lvskeeper.vrrp.validate import Accepted, Received, Reject, Rules, validate

PATIENCE: Final = 10.0
"""Seconds that the thread may need to obey."""


@final
@dataclass
class Seat:
    """What the shell knows of one instance."""

    spec: InstanceSpec
    rules: Rules
    sequence: int = 0
    """The highest one of an authentication header that was heard or sent."""

    @property
    def destinations(self) -> Sequence[Address]:
        if self.rules.peers:
            return [peer.address for peer in self.rules.peers]
        return [GROUP6 if self.spec.key.family == 6 else GROUP4]

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(Place(DEVICE, address) for address in self.spec.addresses)


@final
@dataclass(frozen=True)
class Told:
    """An effect with the monotonic time at which it was applied."""

    at: float
    effect: fx.Effect


@final
@dataclass
class Shell:
    """One router on eth0 of *host*; ``told`` and ``rejects`` are for tests to read."""

    host: Namespace
    seats: Sequence[Seat]
    folder: Path
    told: list[Told] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_key: dict[InstanceKey, Seat] = {seat.spec.key: seat for seat in self.seats}
        self._router = Router([seat.spec for seat in self.seats])
        self._planner = Planner()
        self._tick = min(seat.spec.interval for seat in self.seats) / 2
        self._stack = contextlib.ExitStack()
        self._leaves = threading.Event()
        self._may_run = threading.Event()
        self._may_run.set()
        with inside(self.host) as interface:
            enter = self._stack.enter_context
            self._receivers = [
                enter(Receiver(interface, family, protocol=protocol))
                for family, protocol in ((4, VRRP), (6, VRRP), (4, AH))
            ]
            self._senders = {family: enter(Sender(interface, family)) for family in (4, 6)}
            self._signed = enter(SignedSender(interface))
            self._announcer = enter(Announcer(interface))
        self._errors = self.folder / f"ip-{id(self)}"
        self._ip = self.host.popen(
            ["ip", "-force", "-batch", "-"],
            stdin=subprocess.PIPE,
            stderr=enter(self._errors.open("w")),
        )
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to take part."""
        self._thread.start()

    def stop(self) -> None:
        """Leave in order; twice is harmless."""
        self._leaves.set()
        self._may_run.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        self._stack.close()
        self._ip.communicate(timeout=PATIENCE)
        complaints = self._errors.read_text()
        assert not complaints, complaints

    def freeze(self) -> None:
        """Let the thread stand still, its sockets buffering."""
        self._may_run.clear()

    def thaw(self) -> None:
        """Let it go on."""
        self._may_run.set()

    def state(self, key: InstanceKey) -> State:
        """Return the present state of *key*."""
        return self._router.instances[key].state

    def effects(self, key: InstanceKey, *, since: float = 0.0) -> list[fx.Effect]:
        """Return what was applied for *key* from the time *since* on."""
        return [
            told.effect for told in self.told
            if told.at >= since
            and not isinstance(told.effect, fx.GroupChanged)
            and told.effect.key == key
        ]  # fmt: skip

    def _run(self) -> None:
        poll = select.poll()
        by_number = {receiver.fileno(): receiver for receiver in self._receivers}
        for number in by_number:
            poll.register(number, select.POLLIN)
        self._apply(self._router.start(time.monotonic()))
        tick = time.monotonic() + self._tick
        while not self._leaves.is_set():
            due = min(tick, self._router.deadline(), self._planner.deadline())
            # Rounded up, or the last millisecond would be a busy loop
            ready = poll.poll(max(0.0, (due - time.monotonic()) * 1000))
            self._may_run.wait()
            now = time.monotonic()
            if (late := now - tick) > self._tick:
                self._apply(self._router.on_all(LoopStalled(late), now))
            if now >= tick:
                tick = now + self._tick
            for number, _ in ready:
                self._hear(by_number[number])
            self._apply(self._router.on_timer(time.monotonic()))
            if self._router.deadline() > (now := time.monotonic()):
                self._announce(now)
        self._apply(self._router.stop(time.monotonic()))

    def _announce(self, now: float) -> None:
        addresses = [each.place.address for each in self._planner.on_timer(now)]
        if addresses:
            assert self._announcer.announce(addresses) == ()

    def _hear(self, receiver: Receiver) -> None:
        for packet in receiver.drain():
            if isinstance(packet, Reject):
                self.rejects.append(packet)
                continue
            seat = self._seat(packet)
            verdict = validate(packet, seat.rules, sequence=seat.sequence)
            if isinstance(verdict, Accepted):
                seat.sequence = verdict.sequence or 0
                now = time.monotonic()
                advert, source = verdict.advert, verdict.source
                self._apply(self._router.on_advert(seat.spec.key, advert, source, now))
            else:
                self.rejects.append(verdict)

    def _seat(self, packet: Received) -> Seat:
        family = 6 if len(packet.source) == 16 else 4
        return self._by_key[InstanceKey(DEVICE, family, packet.vrid)]

    def _apply(self, effects: Iterable[fx.Effect]) -> None:
        for effect in effects:
            now = time.monotonic()
            self.told.append(Told(now, effect))
            match effect:
                case fx.SendAdvert(key, priority):
                    self._send(self._by_key[key], priority)
                case fx.HoldAddresses(key):
                    self._address("replace", self._by_key[key])
                case fx.ReleaseAddresses(key):
                    self._planner.stop(key)
                    self._address("delete", self._by_key[key])
                case fx.Announce(key, occasion):
                    seat = self._by_key[key]
                    self._planner.announce(key, seat.spec.announce, seat.places, occasion, now)
                case fx.LookAgain():
                    for receiver in self._receivers:
                        self._hear(receiver)
                    self._apply(self._router.on_timer(time.monotonic()))
                case _:
                    pass

    def _send(self, seat: Seat, priority: int) -> None:
        spec, auth = seat.spec, seat.rules.auth
        advert = Advert(spec.version, spec.key.vrid, priority, spec.interval, spec.addresses)
        for destination in seat.destinations:
            if auth.kind is AuthKind.AH:
                seat.sequence += 1
                self._signed.send(encode_signed(
                    advert, spec.source, destination, secret=auth.secret, sequence=seat.sequence
                ))  # fmt: skip
            else:
                message = encode(advert, spec.source, destination, auth=auth)
                self._senders[spec.key.family].send(message, spec.source, destination)

    def _address(self, verb: str, seat: Seat) -> None:
        assert self._ip.stdin is not None
        for address in seat.spec.addresses:
            length, flags = (128, " nodad") if len(address) == 16 else (32, "")
            flags = flags if verb == "replace" else ""
            text = format_address(address)
            self._ip.stdin.write(f"address {verb} {text}/{length} dev {DEVICE}{flags}\n")
        self._ip.stdin.flush()


def states(effects: Iterable[fx.Effect]) -> list[tuple[State, str]]:
    """Return the states that were entered, each with its cause's name."""
    return [(e.new, e.cause.name) for e in effects if isinstance(e, fx.StateChanged)]


def kinds(effects: Iterable[fx.Effect]) -> list[type[fx.Effect]]:
    """Return the classes of *effects*, repetitions in a row once."""
    return [kind for kind, _ in groupby(type(effect) for effect in effects)]
