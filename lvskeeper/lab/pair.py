"""A pair in the laboratory, that of conf/pair as it is or another one, and what a take-over costs.

Times are those of ``time.monotonic()``.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, final

from lvskeeper.lab.daemon import Daemon, Told
from lvskeeper.lab.servers import Server, start_servers
from lvskeeper.lab.topology import FRONT, Laboratory, Plan, director_front, local_addresses
from lvskeeper.lab.traffic import Counts, Traffic
from lvskeeper.lab.wire import Advert, Announced, Seen, Wire

CONF: Final = Path(__file__).parents[2] / "conf/pair"
VIP4: Final = "192.0.2.100"
VIP6: Final = "2001:db8:c::100"
WEB, ECHO = 8080, 5353
"""Ports of the real servers, TCP and UDP."""
PRIORITIES: Final = {1: 150, 2: 100}
FENCE: Final = 6.0
DIRECTOR_TIMEOUT: Final = 5.0
"""As the files have them."""
RATE: Final = 5.0
"""Requests a second, each a new connection; more leave an emulated machine no time for daemons."""
PATIENCE: Final = 2.0
"""Seconds that a client waits for an answer."""
TAKE_OVER_LIMIT: Final = 30.0
"""Seconds that a take-over may take before it is given up."""
SETTLED: Final = 2.0
"""Seconds without a transition after which an election is over: two intervals."""
START_LIMIT: Final = 180.0
"""Seconds for a daemon to start, or to take part again; emulation makes Python's imports slow."""


def skew(number: int) -> float:
    """Return how long the director *number* waits when a master resigns (RFC 9568, 6.1)."""
    return (256 - PRIORITIES[number]) / 256


def master_down(number: int) -> float:
    """Return how long it waits for adverts before it takes silence for death."""
    return 3.0 + skew(number)


@final
@dataclass(frozen=True, slots=True)
class TakeOver:
    """What was seen of one take-over."""

    taker: int
    """Number of the new master."""
    last: Advert
    """Last advert of the old master, of priority 0 where it resigned."""
    first: Advert
    """First advert of the new one."""
    announced: Announced
    """Its first announcement of the VIP over IPv4."""
    answered: float
    """When a client had the first answer through it."""
    lost: float
    """Longest time that clients were without a good answer."""
    counts: Counts
    """The requests from what was done until all was well again."""

    @property
    def took(self) -> float:
        """Time from the last advert to the first one."""
        return self.first.at - self.last.at

    def log(self, daemon: Daemon) -> list[Told]:
        """Return how the new master tells of it."""
        since = self.last.at - 1
        return daemon.events("vrrp_state_changed", since=since, new="MASTER")


@final
class Pair:
    """A context manager with the laboratory, real servers, and two daemons that do not run yet.

    *conf* has the files ``director1.conf`` and ``director2.conf``, with the VIPs, the instances and
    the priorities of conf/pair.
    """

    def __init__(self, folder: Path, conf: Path = CONF) -> None:
        self.lab: Final = Laboratory(Plan(directors=2, lips=False, vips=False, forwarding=False))
        self.daemons: Final = {
            number: Daemon(
                self.lab.directors[number - 1],
                conf / f"director{number}.conf",
                folder / f"{number}",
            )
            for number in PRIORITIES
        }
        self.servers: Final = [
            Server(space, f"rs{number}", http=[WEB], udp=[ECHO])
            for number, space in enumerate(self.lab.servers, 1)
        ]
        self.wire: Final = Wire(self.lab.client)
        self._addresses = {director_front(number)[0]: number for number in PRIORITIES}
        self._lips = {
            lip: number for number in PRIORITIES for lips in local_addresses(number) for lip in lips
        }
        self._macs: dict[str, int] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.enter_context(self.lab)
            undo.enter_context(self.wire)
            for daemon in self.daemons.values():
                undo.enter_context(daemon)
            for number, director in enumerate(self.lab.directors, 1):
                shown = director.run(["ip", "-j", "link", "show", "dev", FRONT]).stdout
                self._macs[json.loads(shown)[0]["address"]] = number
            start_servers(self.servers)
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self) -> int:
        """Start both daemons at once; return who is master once the other one follows."""
        mark = time.monotonic()
        for daemon in self.daemons.values():
            daemon.start(wait=False)
        for number in self.daemons:
            self.ready(number, mark)
        deadline = time.monotonic() + START_LIMIT
        # Two that end their wait at the same moment are both master until they hear each other.
        while not (active := self._settled()):
            if time.monotonic() > deadline:
                raise TimeoutError("the two directors did not agree on a master")
            time.sleep(0.2)
        return active

    def _settled(self) -> int:
        """Return who is master of both families, the other one backup, for a while; else 0."""
        now = time.monotonic()
        masters = []
        for number, daemon in self.daemons.items():
            last = {
                event.fields["instance"]: event for event in daemon.events("vrrp_state_changed")
            }
            if any(now - event.seen < SETTLED for event in last.values()):
                return 0
            states = {event.fields["new"] for event in last.values()}
            if states == {"MASTER"}:
                masters.append(number)
            elif states != {"BACKUP"}:
                return 0
        return masters[0] if len(masters) == 1 else 0

    def ready(self, number: int, mark: float) -> None:
        """Wait until the director *number* serves what was asked for since *mark*."""
        self.daemons[number].wait_for("daemon_ready", since=mark, timeout=START_LIMIT)

    def revive(self, number: int) -> None:
        """Start a director again, beside a master; wait until it follows that."""
        mark = time.monotonic()
        self.daemons[number].start()
        self.follows(number, mark)

    def follows(self, number: int, since: float) -> None:
        """Wait until the director *number* hears a master, in both families, since a mark."""
        for instance in ("web4", "web6"):
            self.daemons[number].wait_for(
                "vrrp_master_learned", since=since, timeout=START_LIMIT, instance=instance
            )

    def traffic(
        self, vip: str = VIP4, *, rate: float = RATE, patience: float = PATIENCE
    ) -> Traffic:
        """Return requests to a VIP, so many that no outage makes them wait for one another."""
        host = f"[{vip}]" if ":" in vip else vip
        return Traffic(
            self.lab.client, f"http://{host}/", rate=rate, concurrency=100, timeout=patience
        )

    def director_of(self, lip: str) -> int:
        """Return whose local address a real server saw; 0 for one of neither."""
        return self._lips.get(lip, 0)

    def holders(self, vip: str = VIP4) -> list[int]:
        """Return the directors that have *vip* on their device."""
        found = []
        for number, director in enumerate(self.lab.directors, 1):
            shown = director.run(["ip", "-j", "address", "show", "dev", FRONT]).stdout
            if any(info.get("local") == vip for info in json.loads(shown)[0]["addr_info"]):
                found.append(number)
        return found

    def take_over(self, taker: int, traffic: Traffic, act: Callable[[], object]) -> TakeOver:
        """Do *act*, wait until *taker* is master and serves, and say what that cost."""
        mark = time.monotonic()
        act()
        first = self.wire.wait_for(
            lambda seen: _from_a_master(seen) and self._sender(seen) == taker,
            TAKE_OVER_LIMIT,
            since=mark,
        )
        announced = self.wire.wait_for(
            lambda seen: (
                isinstance(seen, Announced)
                and seen.address == VIP4
                and self._macs.get(seen.mac) == taker
            ),
            TAKE_OVER_LIMIT,
            since=mark,
        )
        assert isinstance(first, Advert)
        assert isinstance(announced, Announced)
        traffic.wait_for(
            lambda seen: any(self.director_of(peer) == taker for peer in seen.peers), since=mark
        )
        answered = traffic.first(mark, lambda one: self.director_of(one.peer) == taker).ended
        # Until those that wait in vain have given up, and the pair is known to serve steadily.
        traffic.wait_for(lambda seen: seen.sent >= 1, since=time.monotonic() + traffic.timeout)
        before, after = traffic.longest_gap(mark)
        last = [
            advert
            for advert in self.wire.adverts()
            if advert.at < first.at and self._sender(advert) != taker
        ][-1]
        return TakeOver(
            taker, last, first, announced, answered, after.ended - before.ended,
            traffic.since(mark),
        )  # fmt: skip

    def _sender(self, seen: Seen) -> int:
        return self._addresses[seen.source] if isinstance(seen, Advert) and seen.version == 4 else 0


def _from_a_master(seen: Seen) -> bool:
    return isinstance(seen, Advert) and seen.version == 4 and seen.priority > 0
