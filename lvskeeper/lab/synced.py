"""A pair with ``state_sync``, crowds of connections through it, and ways to lose a director.

VIPs and LIPs move together.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self, final

from lvskeeper.kernel.conntrackd import Conntrackd
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.netns import inside
from lvskeeper.lab.pair import ECHO, PRIORITIES, VIP4, VIP6, WEB, Pair
from lvskeeper.lab.survivors import (
    DOWNLOAD_PACE,
    PATIENCE,
    Chatty,
    Connection,
    Datagrams,
    Idle,
    Sink,
    Source,
    Stream,
    Upload,
)
from lvskeeper.lab.topology import BACK, FRONT, local_addresses, real_server

SYNC: Final = "sync"
"""The link between the two directors."""
SYNC_ADDRESSES: Final = {1: "10.255.0.1", 2: "10.255.0.2"}
SPEAKER, DOWNLOAD, UPLOAD = 8082, 8083, 8086
"""Ports of real servers."""
PERSISTENT: Final = 85
REFRESH: Final = 3
"""Seconds after which IPVS tells its peer of a connection again: the peer's timeouts are short,
too, and an entry that runs out there takes that of connection tracking along."""
IPVS_TIMEOUTS: Final = (900, 120, 300)
"""Seconds: TCP, TCP that ends, UDP; as the kernel has them."""
LOST_AFTER: Final = 40.0
"""Seconds after which a connection that has not gone on is lost: TCP has tried six times then."""
MODULES: Final = (
    "ip_vs_rr",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_hash",
    "nft_synproxy",
)
"""What the kernel would load for the daemon, one after the other and from a slow file system."""


@final
class Kind(NamedTuple):
    """A way to use a connection, and where."""

    make: type[Connection]
    vip: str
    port: int


COOKIES: Final = " behind cookies"
OVER6: Final = " over IPv6"
_USES: Final[Mapping[str, tuple[type[Connection], int, int]]] = {
    "chatty": (Chatty, 80, 81),
    "idle": (Idle, 80, 81),
    "server speaks": (Stream, 82, 88),
    "download": (Stream, 83, 84),
    "upload": (Upload, 86, 87),
}
"""Each with its port, and that behind cookies."""
KINDS: Final[Mapping[str, Kind]] = {
    name + cookies + over: Kind(make, vip, ports[bool(cookies)])
    for over, vip in (("", VIP4), (OVER6, VIP6))
    for cookies in ("", COOKIES)
    for name, (make, *ports) in _USES.items()
} | {"UDP": Kind(Datagrams, VIP4, 89), "UDP" + OVER6: Kind(Datagrams, VIP6, 89)}
_SERVED: Final[Mapping[int, tuple[int, str]]] = {
    80: (WEB, ""),
    81: (WEB, "  syn_proxy\n"),
    82: (SPEAKER, ""),
    83: (DOWNLOAD, ""),
    84: (DOWNLOAD, "  syn_proxy\n"),
    PERSISTENT: (WEB, "  persistence_timeout 600\n"),
    86: (UPLOAD, ""),
    87: (UPLOAD, "  syn_proxy\n"),
    88: (SPEAKER, "  syn_proxy\n"),
    89: (ECHO, ""),
}
"""Ports of both VIPs: those of the real servers, and what else is said of them."""


def _virtual_server(vip: str, port: int) -> str:
    rport, more = _SERVED[port]
    servers = "".join(
        f"  real_server {real_server(number)[':' in vip]} {rport} {{\n    weight 1\n  }}\n"
        for number in (1, 2, 3)
    )
    protocol = "UDP" if rport == ECHO else "TCP"
    return (
        f"virtual_server {vip} {port} {{\n  lb_algo rr\n  lb_kind FNAT\n  protocol {protocol}\n"
        f"  laddr_group_name lips\n{more}{servers}}}\n"
    )


def state_sync(number: int, hold: float) -> str:
    """Return the block of a director."""
    return (
        f"state_sync {{\n  interface {SYNC}\n  address {SYNC_ADDRESSES[number]}\n"
        f"  peer {SYNC_ADDRESSES[3 - number]}\n  hold {hold:g}\n}}\n"
    )


def configuration(number: int, leave: Path, *, synced: bool = True, hold: float = 3) -> str:
    """Return that of a director; a number other than 0 in the file *leave* is a fault of it."""
    lips = local_addresses(1)
    text = (
        f"global_defs {{\n  vrrp_version 3\n  vrrp_rt_priority 50\n  vrrp_no_swap\n"
        f"  vrrp_fence 6\n"
        f"  lvs_sync_daemon {SYNC} web4\n"
        f"  ipvs_sysctls {{\n    sync_refresh_period {REFRESH}\n  }}\n}}\n"
        f"local_address_group lips {{\n  {lips[0][0]}-13\n  {lips[1][0]}-13\n}}\n"
        f"track_file leave {{\n  file {leave}\n  weight 0\n}}\n"
        f"vrrp_sync_group web {{\n  group {{\n    web4\n    web6\n  }}\n"
        f"  track_interface {{\n    {FRONT}\n    {BACK}\n  }}\n"
        f"  track_file {{\n    leave\n  }}\n}}\n"
    )
    for family, (name, vip) in enumerate((("web4", VIP4), ("web6", VIP6))):
        excluded = "".join(f"    {lip} dev {BACK}\n" for lip in lips[family])
        text += (
            f"vrrp_instance {name} {{\n  state BACKUP\n  nopreempt\n  interface {FRONT}\n"
            f"  virtual_router_id 51\n  advert_int 1\n  priority {PRIORITIES[number]}\n"
            f"  virtual_ipaddress {{\n    {vip}\n  }}\n"
            f"  virtual_ipaddress_excluded {{\n{excluded}  }}\n}}\n"
        )
    if synced:
        text += state_sync(number, hold)
    return text + "".join(_virtual_server(vip, port) for vip in (VIP4, VIP6) for port in _SERVED)


@final
@dataclass
class Crowd:
    """Connections of several kinds."""

    members: list[tuple[str, Connection]]
    speakers: Sequence[Source]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def streams(self) -> int:
        """How many of them are TCP."""
        return sum(not isinstance(one, Datagrams) for _, one in self.members)

    def survivors(self, patience: float = LOST_AFTER) -> dict[str, int]:
        """Return how many of each kind go on, from now on."""
        for _, one in self.members:
            one.begin()
        for speaker in self.speakers:
            speaker.speak()
        deadline = time.monotonic() + patience
        while True:
            alive = [one.works() for _, one in self.members]
            if all(alive) or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        counts = Counter({kind: 0 for kind, _ in self.members})
        for (kind, _), lives in zip(self.members, alive, strict=True):
            counts[kind] += lives
        return dict(counts)


@final
class SyncedPair:
    """A context manager with both directors, which do not run yet, and with all servers."""

    def __init__(
        self, folder: Path, *, synced: bool = True, hold: float = 3, pace: float = DOWNLOAD_PACE
    ) -> None:
        """*hold* is that of ``state_sync``, *pace* that of downloads, both in seconds."""
        self.folder: Final = folder
        self._pace: Final = pace
        self._hold: Final = hold
        self.write(synced=synced)
        self.pair: Final = Pair(folder, folder)
        self._open = contextlib.ExitStack()
        self._speaker: Source | None = None

    def write(self, *, synced: bool) -> None:
        """Write both files, with ``state_sync`` or without."""
        for number in PRIORITIES:
            text = configuration(number, self._leave_file(number), synced=synced, hold=self._hold)
            (self.folder / f"director{number}.conf").write_text(text)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.enter_context(self.pair)
            one, two = self.pair.lab.directors
            one.run(["modprobe", "-a", *MODULES], check=False)
            one.ip(f"link add {SYNC} type veth peer name {SYNC} netns {two.name}")
            for number, director in enumerate((one, two), 1):
                self.leave(number, stay=True)
                address = SYNC_ADDRESSES[number]
                director.ip(f"addr add {address}/24 dev {SYNC}", f"link set {SYNC} up")
                # Where IPVS is: a benchmark does without.
                director.run(["sysctl", "-qw", "net.ipv4.vs.sync_threshold=0 1"], check=False)
            servers = self.pair.lab.servers
            self._speaker = undo.enter_context(Source(servers, SPEAKER))
            undo.enter_context(Source(servers, DOWNLOAD, self._pace))
            undo.enter_context(Sink(servers, UPLOAD))
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self) -> None:
        """Start both directors, and wait until their conntrackds know each other."""
        self.pair.start()
        for daemon in self.pair.daemons.values():
            daemon.wait_for("state_sync_peer_found", timeout=PATIENCE)

    @property
    def active(self) -> int:
        """The one director that holds the VIPs; it is waited for."""
        wait_until(lambda: self._holder() > 0, "one director holds all VIPs")
        return self._holder()

    def served_by(self, number: int) -> None:
        """Wait until one director alone holds the VIPs."""
        wait_until(lambda: self._holder() == number, f"director {number} serves alone")

    def taken_by(self, number: int) -> None:
        """Wait until a director holds all VIPs; a killed one has them, too, fenced off."""
        wait_until(
            lambda: all(number in self.pair.holders(vip) for vip in (VIP4, VIP6)),
            f"director {number} takes over",
        )

    def _holder(self) -> int:
        four, six = self.pair.holders(VIP4), self.pair.holders(VIP6)
        return four[0] if four == six and len(four) == 1 else 0

    def run(self, number: int, *command: str) -> str:
        """Run a command in the namespace of a director, and return what it prints."""
        return self.pair.lab.directors[number - 1].run(command).stdout

    @contextlib.contextmanager
    def crowd(self, kinds: Sequence[str], each: int) -> Iterator[Crowd]:
        """Open so many connections of *each* of the *kinds*."""
        assert self._speaker is not None
        with contextlib.ExitStack() as stack:
            crowd = Crowd([], (self._speaker,))
            for kind in kinds:
                make, vip, port = KINDS[kind]
                for _ in range(each):
                    crowd.members.append((kind, one := make(self.pair.lab.client, vip, port)))
                    stack.callback(one.close)
            begun = crowd.survivors()
            assert begun == dict.fromkeys(kinds, each), begun
            yield crowd

    def server_of_client(self, vip: str = VIP4) -> str:
        """Return which real server a new connection to the persistent service gets."""
        with LongLived(self.pair.lab.client, vip, PERSISTENT, patience=PATIENCE) as talk:
            wait_until(lambda: talk.answers > 0, "a real server answers")
            return talk.server

    def tracked(self, number: int) -> int:
        """Return how many established connections to the VIPs the kernel of a director knows."""
        listing = [
            self.run(number, "conntrack", "-L", "-f", family, "-p", "tcp", "-d", vip,
                     "--state", "ESTABLISHED")
            for family, vip in (("ipv4", VIP4), ("ipv6", VIP6))
        ]  # fmt: skip
        return sum(text.count("ESTABLISHED") for text in listing)

    def in_ipvs(self, number: int) -> int:
        """Return how many connections IPVS of a director has."""
        space = self.pair.lab.directors[number - 1]
        path = Path("/proc/thread-self/net/ip_vs_conn")
        return len(inside(space.name, path.read_text).splitlines()) - 1

    def knows(self, number: int, crowd: Crowd) -> None:
        """Wait until a director knows as many TCP connections as the crowd has."""
        wait_until(
            lambda: self.tracked(number) >= crowd.streams,
            f"director {number} learns of the connections",
        )

    @contextlib.contextmanager
    def ipvs_timeouts(self, seconds: int) -> Iterator[None]:
        """Have IPVS of both forget silent connections after so many *seconds*."""
        self._set_timeouts(seconds, seconds, seconds)
        try:
            yield
        finally:
            self._set_timeouts(*IPVS_TIMEOUTS)

    def _set_timeouts(self, *seconds: int) -> None:
        for number in PRIORITIES:
            self.run(number, "ipvsadm", "--set", *map(str, seconds))

    def leave(self, number: int, *, stay: bool = False) -> None:
        """Give a director a fault, or take it away."""
        self._leave_file(number).write_text("0\n" if stay else "1\n")

    def _leave_file(self, number: int) -> Path:
        return self.folder / f"leave{number}"

    def move(self) -> int:
        """Have the active director hand over, and return which one has taken over."""
        active = self.active
        mark = time.monotonic()
        self.leave(active)
        self.served_by(3 - active)
        self.leave(active, stay=True)
        self.pair.follows(active, mark)
        return 3 - active

    def cut(self, number: int) -> None:
        """Take all links of a director away."""
        self.pair.lab.cut(number)
        self.pair.lab.directors[number - 1].ip(f"link set {SYNC} down")

    def mend(self, number: int) -> None:
        """Undo :meth:`cut`."""
        self.pair.lab.directors[number - 1].ip(f"link set {SYNC} up")
        self.pair.lab.mend(number)

    def stop(self, number: int) -> None:
        """Stop a director by SIGTERM, its conntrackd with it."""
        status = self.pair.daemons[number].stop()
        if status:
            raise RuntimeError(f"director {number} ended with status {status}")
        wait_until(lambda: not self.conntrackd(number), "its conntrackd ends")

    def destroy(self, number: int) -> None:
        """Kill all processes of a director, and take its links away."""
        self.pair.daemons[number].kill()
        listing = ["ip", "netns", "pids", self.pair.lab.directors[number - 1].name]
        left = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        for pid in left.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not self.conntrackd(number), "its conntrackd is dead")
        self.cut(number)

    def revive(self, number: int) -> None:
        """Start a destroyed director, with an empty kernel and its links."""
        self.clear(number)
        self.mend(number)
        self.pair.revive(number)

    def clear(self, number: int) -> None:
        """Empty the kernel of a director, but for what only a boot could remove."""
        for command in ("conntrack -F", "ipvsadm -C", "nft flush ruleset"):
            self.run(number, *command.split())
        assert self.tracked(number) == 0

    def conntrackd(self, number: int) -> int:
        """Return the process of a director's conntrackd, 0 for none."""
        folder = self.pair.daemons[number].run_dir
        return Conntrackd(folder / "conntrackd.ctl").process()


def wait_until(condition: Callable[[], bool], what: str, limit: float = PATIENCE) -> None:
    """Wait until a condition is true; raise ``TimeoutError`` where it never is."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"in vain: {what}")
        time.sleep(0.2)
