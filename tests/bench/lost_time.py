"""Benchmark of what a fail-over costs connections: ours against keepalived with conntrackd.

Both serve the same laboratory with the same rules, VRRP timers and addresses, in SCHED_RR. Theirs
is conntrackd in FTFW mode with the script primary-backup.sh that comes with it, as a notify script.
Both directors' links are cut in turn, at the same moments of the advert interval with either, while
downloads and datagrams run, and idle connections begin to speak one after the other.

It runs on this host, where IPVS may be absent: nft does its part, for both.
"""

import contextlib
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, final

from bench.lost_time_files import (
    SCRIPT,
    STAND_IN,
    conntrackd_conf,
    keepalived_conf,
    notify_script,
    our_conf,
)
from bench.measure import Bound, Row

from lvskeeper.lab.longlived import connect_in
from lvskeeper.lab.netns import inside, set_sysctls
from lvskeeper.lab.pair import PRIORITIES, VIP4
from lvskeeper.lab.synced import SyncedPair, wait_until
from lvskeeper.lab.wire import Advert

PHASES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""When links are cut, in seconds after an advert. A download goes on when TCP sends again: 0.2,
0.6, 1.4, 3.0, 6.2 s after the cut; what a take-over takes decides between the last two."""
WATCHED: Final = 10.0
"""Seconds that are watched from a cut on."""
PACE: Final = 0.02
"""Seconds between two blocks of a download, and between two datagrams."""
DOWNLOADS: Final = 4
IDLE: Final = 100
SPEAKING: Final = 6.0
"""Seconds in which the idle ones begin to speak, one after the other, from the cut on."""
PATIENCE: Final = 60.0
FLOOR: Final = 1.1
"""A busy machine cuts links, and hears adverts, a tenth of a second sooner or later."""
AIM: Final = 1.0
QUESTION: Final = b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n"
COUNTER: Final = """
table inet resets {
  chain count {
    type filter hook input priority 0;
    tcp flags & rst == rst counter
  }
}
"""


@final
@dataclass
class Outcome:
    """What was seen of all cuts of one side."""

    downloads: list[float] = field(default_factory=list)
    """Longest time without a byte, of each download at each cut, in seconds."""
    datagrams: list[float] = field(default_factory=list)
    died: int = 0
    """Connections that did not go on."""
    resets: int = 0
    """RSTs that came to the client."""


class Side(ABC):
    """A pair of directors of one maker."""

    def __init__(self, site: SyncedPair, folder: Path) -> None:
        self.site: Final = site
        self.folder: Final = folder

    @abstractmethod
    def start(self) -> None:
        """Start both directors, and wait until one serves and the other follows."""

    @abstractmethod
    def known(self, number: int) -> int:
        """Return how many established connections a backup could take over."""

    @abstractmethod
    def back(self, number: int) -> None:
        """Mend the links of a director, and wait until it is backup."""


@final
class Ours(Side):
    """lvskeeper with ``state_sync``."""

    def start(self) -> None:
        for number in PRIORITIES:
            (self.folder / f"director{number}.conf").write_text(our_conf(number))
        self.site.start()

    def known(self, number: int) -> int:
        return self.site.tracked(number)

    def back(self, number: int) -> None:
        mark = time.monotonic()
        self.site.mend(number)
        self.site.pair.daemons[number].wait_for(
            "vrrp_master_learned", since=mark, timeout=PATIENCE, instance="web4"
        )


@final
class Theirs(Side):
    """keepalived, with conntrackd by its usual script."""

    def start(self) -> None:
        for number, director in enumerate(self.site.pair.lab.directors, 1):
            conntrackd, lock = self._file(number, "conntrackd.conf"), self._file(number, "lock")
            conntrackd.write_text(conntrackd_conf(number, lock, self._file(number, "ctl")))
            script = self._file(number, "primary-backup.sh")
            script.write_text(notify_script(conntrackd, lock))
            note, state = self._file(number, "note"), self._file(number, "state")
            note.write_text(f'#!/bin/sh\necho "$3" > {state}\n')
            for program in (script, note):
                program.chmod(0o755)
            director.run(["conntrackd", "-C", str(conntrackd), "-d"], timeout=PATIENCE)
            file = self._file(number, "keepalived.conf")
            file.write_text(keepalived_conf(number, script, note))
            director.popen(
                ["keepalived", "-n", "-f", str(file), "-p", str(self._file(number, "pid")),
                 "-c", str(self._file(number, "checkers")), "-r", str(self._file(number, "vrrp"))],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        wait_until(lambda: len(self._masters()) == 1, "one is master", PATIENCE)

    def known(self, number: int) -> int:
        conf = str(self._file(number, "conntrackd.conf"))
        return self.site.run(number, "conntrackd", "-C", conf, "-e").count("ESTABLISHED")

    def back(self, number: int) -> None:
        self.site.mend(number)
        # What its notify script begins then is over long before the next connections are open.
        wait_until(lambda: self._state(number) == "BACKUP", "it is backup", PATIENCE)

    def _masters(self) -> list[int]:
        return self.site.pair.holders(VIP4)

    def _state(self, number: int) -> str:
        file = self._file(number, "state")
        return file.read_text().strip() if file.exists() else ""

    def _file(self, number: int, name: str) -> Path:
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        return folder / name


@final
class Watch:
    """Connections of a client, and how long each was without a word. A context manager."""

    def __init__(self, site: SyncedPair) -> None:
        client = site.pair.lab.client
        self._downloads = [connect_in(client, VIP4, 83, PATIENCE) for _ in range(DOWNLOADS)]
        self._idle = [connect_in(client, VIP4, 80, PATIENCE) for _ in range(IDLE)]
        self._datagrams = inside(client.name, lambda: socket.socket(type=socket.SOCK_DGRAM))
        self._datagrams.connect((VIP4, 89))
        self._last: dict[socket.socket, float] = {}
        self._longest: dict[socket.socket, float] = {}
        self._answered: set[socket.socket] = set()
        self._speak_from = float("inf")
        self._asked = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        for one in self._idle:
            one.sendall(QUESTION)
            answer = b""
            while b"}" not in answer:
                answer += one.recv(1 << 16)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for one in (*self._downloads, *self._idle, self._datagrams):
            one.close()

    def begin(self) -> None:
        """From now on the idle ones speak."""
        self._longest.clear()
        self._speak_from = time.monotonic()

    def take(self, outcome: Outcome) -> None:
        """Add what has been seen."""
        self._stop.set()
        self._thread.join()
        for one in self._downloads:
            silent = time.monotonic() - self._last[one]
            outcome.died += silent > 1
            outcome.downloads.append(max(self._longest.get(one, 0.0), silent))
        silent = time.monotonic() - self._last[self._datagrams]
        outcome.datagrams.append(max(self._longest.get(self._datagrams, 0.0), silent))
        outcome.died += sum(one not in self._answered for one in self._idle)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (*self._downloads, *self._idle, self._datagrams):
                one.setblocking(False)
                selector.register(one, selectors.EVENT_READ)
                self._last[one] = time.monotonic()
            due = time.monotonic()
            while not self._stop.is_set():
                ready = selector.select(max(0, due - time.monotonic()))
                now = time.monotonic()
                for key, _ in ready:
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if not self._heard(sock, now):
                        selector.unregister(sock)
                if now >= due:
                    due = now + PACE
                    self._speak(now)

    def _heard(self, sock: socket.socket, now: float) -> bool:
        """Take what came; return whether more may come."""
        try:
            if not sock.recv(1 << 16):
                return False
        except OSError:
            return sock is self._datagrams
        silent = now - self._last[sock]
        self._longest[sock] = max(self._longest.get(sock, 0.0), silent)
        self._last[sock] = now
        self._answered.add(sock)
        return True

    def _speak(self, now: float) -> None:
        with contextlib.suppress(OSError):
            self._datagrams.send(b"?\n")
        turn = int((now - self._speak_from) / SPEAKING * IDLE) if now > self._speak_from else 0
        for one in self._idle[self._asked : turn]:
            with contextlib.suppress(OSError):
                one.send(QUESTION)
        self._asked = max(self._asked, min(turn, IDLE))


def resets(site: SyncedPair) -> int:
    """Return how many RSTs have come to the client."""
    said = site.pair.lab.client.run(["nft", "list", "table", "inet", "resets"]).stdout
    return int(said.partition("packets ")[2].split()[0])


def cut_at(side: Side, phase: float, outcome: Outcome) -> None:
    """Cut the links of who serves, and watch what comes of it; then mend all."""
    site = side.site
    active = site.pair.holders(VIP4)[0]
    taker = 3 - active
    before = resets(site)
    with Watch(site) as watch:
        wait_until(lambda: side.known(taker) >= DOWNLOADS + IDLE, "the backup knows them", PATIENCE)
        mark = time.monotonic()
        advert = site.pair.wire.wait_for(lambda seen: isinstance(seen, Advert), 10, since=mark)
        time.sleep(max(0.0, advert.at + phase - time.monotonic()))
        watch.begin()
        site.cut(active)
        time.sleep(WATCHED)
        assert site.pair.holders(VIP4) == [taker]
        watch.take(outcome)
    outcome.resets += resets(site) - before
    side.back(active)


@contextlib.contextmanager
def laboratory(folder: Path) -> Iterator[SyncedPair]:
    """Have the network and the servers, with a counter of RSTs at the client."""
    folder.mkdir()
    with SyncedPair(folder, pace=PACE) as site:
        site.pair.lab.client.run(["nft", "-f", "-"], input_text=COUNTER)
        for director in site.pair.lab.directors:
            set_sysctls(director.name, {"ipv4/ip_forward": "1"})
            director.run(["nft", "-f", "-"], input_text=STAND_IN)
        yield site


def measure(make: type[Side], folder: Path, phases: Sequence[float]) -> Outcome:
    """Cut a side's directors off in turn."""
    outcome = Outcome()
    with laboratory(folder) as site:
        side = make(site, folder)
        side.start()
        for phase in phases:
            cut_at(side, phase, outcome)
    return outcome


def main(phases: Sequence[float] = PHASES) -> None:
    """Print the rows."""
    if not SCRIPT.is_file():
        sys.exit(f"the script of conntrackd is not there: {SCRIPT}")
    with tempfile.TemporaryDirectory() as name:
        theirs = measure(Theirs, Path(name, "theirs"), phases)
        ours = measure(Ours, Path(name, "ours"), phases)
    anchor = "keepalived, conntrackd"
    for what, mine, other in (
        ("a download is without a byte", ours.downloads, theirs.downloads),
        ("datagrams get no answer", ours.datagrams, theirs.datagrams),
    ):
        for word, of in (("median", statistics.median), ("longest", max)):
            row = Row("S1", f"cut: {what}, {word}", of(mine), anchor, of(other), FLOOR, AIM)
            print(row, flush=True)
    for what, count, their_count in (
        ("RSTs that clients see", ours.resets, theirs.resets),
        ("connections that do not go on", ours.died, theirs.died),
    ):
        of_all = f"{len(phases)} cuts: {what}"
        print(Bound("S1", of_all, count, their_count, 0, anchor), flush=True)


if __name__ == "__main__":
    main()
