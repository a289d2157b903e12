"""Instances that our daemon and keepalived both run, and what to expect of a pair of them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from support.vrrp_lan import (
    OURS,
    PATIENCE,
    PROMPT,
    THEIRS,
    Announced,
    Frame,
    Keepalived,
    Lan,
    lan,
    wait_until,
)
from support.vrrp_net import (
    DEVICE,
    HERE4,
    HERE6,
    HERE_LINK,
    THERE4,
    THERE6,
    THERE_LINK,
)
from support.vrrp_watch import check_frames

from lvskeeper.lab.daemon import Daemon, Told
from lvskeeper.units import Address, format_address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.spec import AnnounceSpec
from lvskeeper.vrrp.states import Cause, State
from lvskeeper.vrrp.validate import Accepted, Peer, Received, Rules, validate

SECRET: Final = b"s3cret"
SLACK: Final = 0.25
"""Seconds that a loaded machine may add to twice the time of the formula."""
TROUBLES: Final = frozenset({
    "vrrp_advert_rejected", "vrrp_advert_noted", "vrrp_send_failed", "vrrp_socket_failed",
    "vrrp_own_address_heard", "vrrp_announce_failed", "vip_refused", "vip_lost", "role_died",
    "role_stuck", "track_troubled", "notify_troubled", "sysctl_wrong", "log_lines_lost",
})  # fmt: skip
"""Events that no story has which does not ask for them."""


@final
@dataclass(frozen=True)
class Duel:
    """One instance on both sides; *here* and *there* are more configuration of each."""

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
    here: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    device: str = DEVICE
    vmac: bool = False

    @property
    def vips(self) -> tuple[Address, ...]:
        if not self.six:
            return (parse_address(f"192.0.2.{100 + self.vrid}"),)
        vip = parse_address(f"2001:db8::{100 + self.vrid}")
        return (vip,) if self.unicast else (parse_address(f"fe80::{100 + self.vrid}"), vip)

    @property
    def vip(self) -> Address:
        """The one that the third host talks to."""
        return self.vips[-1]

    @property
    def six(self) -> bool:
        return len(self.source) == 16

    @property
    def mac(self) -> str:
        """The virtual MAC (RFC 5798 7.3)."""
        return f"00:00:5e:00:0{2 if self.six else 1}:{self.vrid:02x}"

    @property
    def rules(self) -> Rules:
        return Rules(
            self.version, self.vrid, self.interval, self.vips,
            auth=Authentication(self.auth, SECRET if self.auth else b""),
            peers=(Peer(self.peer),) if self.unicast else (), check_source=True,
        )  # fmt: skip

    def our_side(self) -> str:
        """Return our configuration."""
        more = list(self.here)
        if self.unicast:
            more.append("check_unicast_src")
        elif self.source not in {HERE4, HERE_LINK}:
            more.append(f"mcast_src_ip {format_address(self.source)}")
        return self._configuration(self.ours, self.source, self.peer, more)

    def their_side(self) -> str:
        """Return keepalived's configuration."""
        return self._configuration(self.theirs, self.peer, self.source, self.there)

    def _configuration(
        self, priority: int, source: Address, peer: Address, more: Iterable[str]
    ) -> str:
        lines = [
            f"interface {self.device}", f"virtual_router_id {self.vrid}",
            f"version {self.version}", f"priority {priority}", f"advert_int {self.interval:g}",
            "virtual_ipaddress {", *map(format_address, self.vips), "}", *more,
        ]  # fmt: skip
        if priority < 255:
            lines.append("state BACKUP")
        if self.vmac:
            lines.append(f"use_vmac vm{self.vrid}")
        if self.auth:
            lines += ["authentication {", f"auth_type {self.auth.name}",
                      f"auth_pass {SECRET.decode()}", "}"]  # fmt: skip
        if self.unicast:
            lines += [f"unicast_src_ip {format_address(source)}",
                      "unicast_peer {", format_address(peer), "}"]  # fmt: skip
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

    def __init__(
        self,
        net: Lan,
        duels: Sequence[Duel],
        folder: Path,
        *,
        here: str = "",
        there: str = "",
        expected: Iterable[str] = (),
    ) -> None:
        self.lan: Final = net
        self.duels: Final = duels
        self._folder = folder
        self.file: Final = folder / "lvskeeper.conf"
        self.file.write_text(PROMPT + here + "".join(duel.our_side() for duel in duels))
        their_side = [PROMPT, there, *(duel.their_side() for duel in duels)]
        self.keepalived: Final = Keepalived(net.theirs, folder, their_side)
        self._troubles = TROUBLES - {*expected}
        self._runs: list[Daemon] = []

    @property
    def daemon(self) -> Daemon:
        """Our present daemon."""
        assert self._runs, "not started yet"
        return self._runs[-1]

    def start_ours(self) -> None:
        """Start our daemon; it has nothing of the last one but the runtime directory."""
        self._runs.append(Daemon(self.lan.ours, self.file, self._folder / "run"))
        self.daemon.start()

    def events(self, duel: Duel, *names: str, since: float = 0.0, **fields: object) -> list[Told]:
        """Return what our present daemon told of *duel* since the monotonic time *since*."""
        return self.daemon.events(*names, since=since, instance=duel.name, **fields)

    def states(self, duel: Duel, *, since: float = 0.0) -> list[tuple[State, str]]:
        """Return the states that our present daemon entered, each with its cause's name."""
        return [
            (State(told.fields["new"]), Cause(told.fields["cause"]).name)
            for told in self.events(duel, "vrrp_state_changed", since=since)
        ]

    def await_event(self, duel: Duel, name: str, *, since: float = 0.0, **fields: object) -> Told:
        """Wait until our present daemon tells of *duel*."""
        return self.daemon.wait_for(
            name, since=since, timeout=PATIENCE, instance=duel.name, **fields
        )

    def adverts(self, duel: Duel, host: str, *, since: float = 0.0) -> list[tuple[float, Received]]:
        """Return the adverts of *duel* that *host* sent, each with its time of day."""
        return [
            (frame.at, frame.what) for frame in self._frames()
            if frame.host == host and frame.at >= since and isinstance(frame.what, Received)
            and frame.what.vrid == duel.vrid
        ]  # fmt: skip

    def announcements(self, vip: Address) -> list[Frame]:
        """Return who told neighbours when that it has *vip*."""
        return [
            frame for frame in self._frames()
            if isinstance(frame.what, Announced) and frame.what.address == vip
        ]  # fmt: skip

    def _frames(self) -> list[Frame]:
        return self.lan.wire.settled()

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
        states: list[list[str]] = [[state]]
        if state == "BACKUP" and duel.theirs == 255:
            states.append([])  # an owner that heard another one before it became master
        wait_until(
            lambda: self.keepalived.entries(duel.name)[-1:] in states,
            lambda: f"{duel.name} is not {state}\n{self.keepalived.log()}",
        )

    def _expect_ours(self, state: State, duels: Sequence[Duel]) -> None:
        for duel in duels:
            self.wait_for_ours(duel, state)

    def wait_for_ours(self, duel: Duel, state: State) -> None:
        """Wait until we are in *state*."""
        wait_until(
            lambda: [entered for entered, _ in self.states(duel)[-1:]] == [state],
            lambda: f"{duel.name} is not {state}: {self.states(duel)}\n{self.daemon.noise}",
        )

    def expect_addresses(self, host: str, *duels: Duel, alone: bool = True) -> None:
        """Wait until *host* has the addresses of *duels*, or of all, and the third host knows."""
        for duel in duels or self.duels:
            for vip in duel.vips:
                self._expect_address(host, vip, alone=alone)
            if duel.device == DEVICE:
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
            lambda: (
                f"{duel.name}: the third host was not told of {host}, but "
                f"{[(f.at, f.host) for f in self.announcements(duel.vip)]}; now {time.time()}"
            ),
        )

    def expect_gap(self, duel: Duel, old: str, *, after: float, expected: float) -> None:
        """Check the time from the last advert of *old* to the first one of the other.

        Both are looked for from the time of day *after* on.
        """
        new = THEIRS if old == OURS else OURS
        (first, packet), *_ = self.adverts(duel, new, since=after)
        last, _ = [each for each in self.adverts(duel, old) if each[0] < first][-1]
        assert packet.message.priority == (duel.theirs if new == THEIRS else duel.ours)
        # A turn of the loop takes the time before it takes the packets
        assert expected - 0.01 < first - last < 2 * expected + SLACK, (duel.name, first - last)

    def expect_burst(self, duel: Duel, *, after: float, once: bool = True) -> None:
        """Check that our first advert since *after* is followed by one burst of announcements.

        Unless it is to come *once*, more of them may follow.
        """
        (first, _), *_ = self.adverts(duel, OURS, since=after)
        repeat = AnnounceSpec().repeat

        def burst(vip: Address) -> list[float]:
            told = [
                frame.at - first for frame in self.announcements(vip)
                if frame.host == OURS and frame.at >= after
            ]  # fmt: skip
            assert all(at > 0 for at in told), (duel.name, told)
            return [at for at in told if at < AnnounceSpec().delay / 2]

        wait_until(
            lambda: all(len(burst(vip)) >= repeat for vip in duel.vips), f"{duel.name}: no burst"
        )
        for vip in duel.vips:
            assert burst(vip)[0] < SLACK, (duel.name, burst(vip))
            assert len(burst(vip)) == repeat or not once, (duel.name, burst(vip))

    def check(self) -> None:
        """Check what holds in every story, once it is over."""
        self.end()
        for run in self._runs:
            assert run.noise == ""
            troubles = run.events(*self._troubles)
            assert troubles == []
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
        self._check_frames()

    def _check_frames(self) -> None:
        macs = {host: mac for mac, host in self.lan.macs.items()}
        by_vrid = {duel.vrid: duel for duel in self.duels}

        def expected(host: str, vrid: int) -> tuple[str, int]:
            duel = by_vrid[vrid]
            # keepalived leaves the hop limit of IPv6 unicast to the kernel
            ttl = 64 if host == THEIRS and duel.six and duel.unicast else 255
            return duel.mac if duel.vmac else macs[host], ttl

        check_frames(self.lan.wire.frames, expected)

    def end(self) -> None:
        """Stop our daemon if it runs."""
        if self._runs and self.daemon.pids:
            assert self.daemon.stop() == 0

    def story(self) -> str:
        """Return what our daemons and keepalived told, for who wonders why it went otherwise."""
        ours = "\n".join(
            " ".join([told.name, *(f"{k}={v}" for k, v in told.fields.items())])
            for run in self._runs
            for told in run.told
        )
        return f"{ours}\n{self.keepalived.log()}"

    def kill(self) -> None:
        """Leave nothing of our daemons behind."""
        for run in self._runs:
            run.kill()


@contextmanager
def match(
    duels: Sequence[Duel],
    folder: Path,
    *,
    here: str = "",
    there: str = "",
    expected: Iterable[str] = (),
    second_link: bool = False,
) -> Iterator[Match]:
    """Yield the two routers, not started yet.

    *here* and *there* come first in the configurations, and *expected* are troubles of our side
    that belong to the story.
    """
    with lan(second_link=second_link) as net:
        made = Match(net, duels, folder, here=here, there=there, expected=expected)
        try:
            yield made
            made.check()
        except BaseException as error:
            error.add_note(made.story())
            raise
        finally:
            made.kill()
