"""Instances that our router and keepalived both run, and what to expect of a pair of them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from support.vrrp_lan import OURS, THEIRS, Announced, Frame, Keepalived, Lan, lan, wait_until
from support.vrrp_net import (
    DEVICE,
    HERE4,
    HERE6,
    HERE_LINK,
    THERE4,
    THERE6,
    THERE_LINK,
)
from support.vrrp_shell import Seat, Shell

from lvskeeper.units import Address, format_address, parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.spec import AnnounceSpec, InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Accepted, Peer, Received, Rules, validate

SECRET: Final = b"s3cret"
SLACK: Final = 0.25
"""Seconds that a loaded machine may add to twice the time of the formula."""


@final
@dataclass(frozen=True)
class Duel:
    """One instance on both sides; *here* changes our spec, *there* is more configuration."""

    name: str
    vrid: int
    ours: int
    theirs: int
    version: int = 3
    interval: float = 0.1
    auth: AuthKind = AuthKind.NONE
    source: Address = HERE4
    peer: Address = THERE4
    unicast: bool = False
    here: Mapping[str, Any] = field(default_factory=dict)
    there: tuple[str, ...] = ()

    @property
    def vips(self) -> tuple[Address, ...]:
        if len(self.source) == 4:
            return (parse_address(f"192.0.2.{100 + self.vrid}"),)
        vip = parse_address(f"2001:db8::{100 + self.vrid}")
        return (vip,) if self.unicast else (parse_address(f"fe80::{100 + self.vrid}"), vip)

    @property
    def vip(self) -> Address:
        """The one that the third host talks to."""
        return self.vips[-1]

    @property
    def key(self) -> InstanceKey:
        return InstanceKey(DEVICE, 6 if len(self.source) == 16 else 4, self.vrid)

    @property
    def rules(self) -> Rules:
        return Rules(
            self.version, self.vrid, self.interval, self.vips,
            auth=Authentication(self.auth, SECRET if self.auth else b""),
            peers=(Peer(self.peer),) if self.unicast else (), check_source=True,
        )  # fmt: skip

    def seat(self) -> Seat:
        """Return our side."""
        values: dict[str, Any] = {
            "key": self.key, "name": self.name, "source": self.source, "version": self.version,
            "priority": self.ours, "interval": self.interval, "addresses": self.vips,
        }  # fmt: skip
        return Seat(InstanceSpec(**(values | dict(self.here))), self.rules)

    def configuration(self) -> str:
        """Return keepalived's side."""
        lines = [
            f"interface {DEVICE}", f"virtual_router_id {self.vrid}", f"version {self.version}",
            f"priority {self.theirs}", f"advert_int {self.interval:g}",
            "virtual_ipaddress {", *map(format_address, self.vips), "}", *self.there,
        ]  # fmt: skip
        if self.theirs < 255:
            lines.append("state BACKUP")
        if self.auth:
            lines += ["authentication {", f"auth_type {self.auth.name}",
                      f"auth_pass {SECRET.decode()}", "}"]  # fmt: skip
        if self.unicast:
            lines += [f"unicast_src_ip {format_address(self.peer)}",
                      "unicast_peer {", format_address(self.source), "}"]  # fmt: skip
        body = "\n  ".join(lines)
        return f"vrrp_instance {self.name} {{\n  {body}\n}}\n"

    def down(self, priority: int) -> float:
        """Return the master-down time of a router of *priority* (RFC 3768 6.1, RFC 5798 6.1)."""
        return 3 * self.interval + self.skew(priority)

    def skew(self, priority: int) -> float:
        """Return its skew; on purpose not by our own formula, which is on trial."""
        parts = (256 - priority) / 256
        return parts if self.version == 2 else parts * self.interval


def all_kinds(ours: int, theirs: int) -> tuple[Duel, ...]:
    """Return a duel of each kind of packet."""
    six: dict[str, Any] = {"source": HERE6, "peer": THERE6}
    link: dict[str, Any] = {"source": HERE_LINK, "peer": THERE_LINK}
    second: dict[str, Any] = {"version": 2, "interval": 1.0}
    return (
        Duel("plain", 1, ours, theirs, **second),
        Duel("password", 2, ours, theirs, auth=AuthKind.PASS, **second),
        Duel("signed", 3, ours, theirs, auth=AuthKind.AH, **second),
        Duel("unicast2", 4, ours, theirs, auth=AuthKind.PASS, unicast=True, **second),
        Duel("signed_unicast", 5, ours, theirs, auth=AuthKind.AH, unicast=True, **second),
        Duel("three", 6, ours, theirs),
        Duel("unicast3", 7, ours, theirs, unicast=True, interval=0.2),
        Duel("six", 8, ours, theirs, **link),
        Duel("unicast6", 9, ours, theirs, unicast=True, interval=0.2, **six),
    )


@final
class Match:
    """Both routers of all *duels* on a link of their own."""

    def __init__(self, net: Lan, duels: Sequence[Duel], folder: Path) -> None:
        self.lan: Final = net
        self.duels: Final = duels
        self._folder = folder
        self.keepalived: Final = Keepalived(net.theirs, folder, [d.configuration() for d in duels])
        self._shell: Shell | None = None

    @property
    def shell(self) -> Shell:
        """Our present router."""
        assert self._shell is not None, "not started yet"
        return self._shell

    def start_ours(self) -> None:
        """Start our router, a new one each time."""
        self._shell = Shell(self.lan.ours, [duel.seat() for duel in self.duels], self._folder)
        self._shell.start()

    def effects(self, duel: Duel, *, since: float = 0.0) -> list[fx.Effect]:
        """Return what our present router told of *duel*."""
        return self.shell.effects(duel.key, since=since)

    def adverts(self, duel: Duel, host: str, *, since: float = 0.0) -> list[tuple[float, Received]]:
        """Return the adverts of *duel* that *host* sent, each with its time of day."""
        return [
            (frame.at, frame.what) for frame in self._frames()
            if frame.host == host and frame.at >= since and isinstance(frame.what, Received)
            and frame.what.vrid == duel.vrid
        ]  # fmt: skip

    def _frames(self) -> list[Frame]:
        time.sleep(0.05)  # what is on its way
        return [*self.lan.wire.frames]

    def expect_master(self, host: str, *duels: Duel) -> None:
        """Wait until *host* is the one master of *duels*, or of all, and the third host knows."""
        ours, theirs = (State.MASTER, "BACKUP") if host == OURS else (State.BACKUP, "MASTER")
        self._expect_theirs(theirs, duels or self.duels)
        self._expect_ours(ours, duels or self.duels)
        self.expect_addresses(host, *duels)

    def expect_their_start(self) -> None:
        """Wait until keepalived is master of all, as there is nobody else yet."""
        self._expect_theirs("MASTER", self.duels)
        self.expect_addresses(THEIRS)

    def expect_ours_alone(self, *, clean: bool) -> None:
        """Wait until we are master of all; unless *clean* the dead one left its addresses."""
        self._expect_ours(State.MASTER, self.duels)
        self.expect_addresses(OURS, alone=clean)

    def _expect_theirs(self, state: str, duels: Sequence[Duel]) -> None:
        for duel in duels:
            self.wait_for_theirs(duel, state)

    def wait_for_theirs(self, duel: Duel, state: str) -> None:
        """Wait until keepalived is in *state*."""
        wait_until(
            lambda: self.keepalived.entries(duel.name)[-1:] == [state],
            lambda: f"{duel.name} is not {state}\n{self.keepalived.log()}",
        )

    def _expect_ours(self, state: State, duels: Sequence[Duel]) -> None:
        for duel in duels:
            self.wait_for_ours(duel, state)

    def wait_for_ours(self, duel: Duel, state: State) -> None:
        """Wait until we are in *state*."""
        wait_until(
            lambda: self.shell.state(duel.key) is state,
            lambda: f"{duel.name} is not {state}: {self.effects(duel)[-20:]}",
        )

    def expect_addresses(self, host: str, *duels: Duel, alone: bool = True) -> None:
        """Wait until *host* has the addresses of *duels*, or of all, and the third host knows."""
        for duel in duels or self.duels:
            for vip in duel.vips:
                self._expect_address(host, vip, alone=alone)
            self._expect_neighbour(host, duel)

    def _expect_address(self, host: str, vip: Address, *, alone: bool) -> None:
        def placed() -> bool:
            found = self.lan.holders(vip)
            return found == [host] or (not alone and host in found)

        wait_until(
            placed, lambda: f"{format_address(vip)} is at {self.lan.holders(vip)}, not at {host}"
        )

    def _expect_neighbour(self, host: str, duel: Duel) -> None:
        # A third host that knows of no master yet asks; afterwards it is told
        if not self.lan.neighbour(duel.vip):
            self.lan.get_to_know(duel.vip)
        wait_until(
            lambda: self.lan.neighbour(duel.vip) == host,
            f"{duel.name}: the third host was not told of {host}",
        )

    def expect_gap(self, duel: Duel, old: str, *, after: float, expected: float) -> None:
        """Check the time from the last advert of *old* to the first one of the other.

        Both are looked for from the time of day *after* on.
        """
        new = THEIRS if old == OURS else OURS
        (first, packet), *_ = self.adverts(duel, new, since=after)
        last, _ = [each for each in self.adverts(duel, old) if each[0] < first][-1]
        assert packet.message.priority == (duel.theirs if new == THEIRS else duel.ours)
        assert expected - 0.002 < first - last < 2 * expected + SLACK, (duel.name, first - last)

    def expect_burst(self, duel: Duel, *, after: float) -> None:
        """Check that our first advert since *after* is followed by one burst of announcements."""
        (first, _), *_ = self.adverts(duel, OURS, since=after)
        for vip in duel.vips:
            told = [
                frame.at - first for frame in self._frames()
                if frame.host == OURS and frame.at >= after
                and isinstance(frame.what, Announced) and frame.what.address == vip
            ]  # fmt: skip
            assert 0 < told[0] < SLACK, (duel.name, told)
            burst = [at for at in told if at < AnnounceSpec().delay / 2]
            assert len(burst) == AnnounceSpec().repeat, (duel.name, told)

    def check(self) -> None:
        """Check what holds in every story, once it is over."""
        self.shell.stop()
        assert self.shell.rejects == []
        refusals = [
            line for line in self.keepalived.log().splitlines()
            if ("invalid" in line.lower() or "discarding" in line)
            and "received lower priority" not in line
        ]  # fmt: skip
        assert refusals == []
        for duel in self.duels:
            for _, packet in self.adverts(duel, THEIRS):
                verdict = validate(packet, duel.rules)
                assert isinstance(verdict, Accepted), (duel.name, verdict)
                assert verdict.notes == ()

    def end(self) -> None:
        """Stop our router, however the story went."""
        if self._shell:
            self._shell.stop()


@contextmanager
def match(duels: Sequence[Duel], folder: Path) -> Iterator[Match]:
    """Yield the two routers, not started yet."""
    with lan() as net:
        made = Match(net, duels, folder)
        try:
            yield made
            made.check()
        finally:
            made.end()
