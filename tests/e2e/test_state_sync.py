"""Connections through a pair with ``state_sync``, and each way to lose the director that has them.

VIPs and LIPs move together. Both daemons serve the whole module, and the last test takes state sync
away from them: what survived before is cut then.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from support.survivors import DOWNLOAD_PACE, PATIENCE, Chatty, Idle, Source, Stream

from lvskeeper.kernel.conntrackd import Conntrackd
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.netns import inside
from lvskeeper.lab.pair import PRIORITIES, VIP4, VIP6, Pair
from lvskeeper.lab.topology import BACK, FRONT, local_addresses, real_server

pytestmark = [
    pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(600),
]  # fmt: skip

EACH: Final = 10
SYNC: Final = "sync"
"""The link between the two directors."""
SYNC_ADDRESSES: Final = {1: "10.255.0.1", 2: "10.255.0.2"}
SPEAKER, DOWNLOAD = 8082, 8083
PERSISTENT: Final = 85
KINDS: Final[dict[str, tuple[type[Chatty | Idle | Stream], str, int]]] = {
    "chatty": (Chatty, VIP4, 80),
    "chatty over IPv6": (Chatty, VIP6, 80),
    "idle": (Idle, VIP4, 80),
    "server speaks": (Stream, VIP4, 82),
    "download": (Stream, VIP4, 83),
    "chatty behind cookies": (Chatty, VIP4, 81),
    "download behind cookies": (Stream, VIP4, 84),
}
BEHIND_COOKIES: Final = tuple(kind for kind in KINDS if kind.endswith("cookies"))
ALL: Final = dict.fromkeys(KINDS, EACH)
TALKING: Final = tuple(kind for kind in KINDS if kind not in {"idle", "server speaks"})
SHORT: Final = 12
"""Seconds that IPVS keeps a silent connection, where its timeouts are made short."""
REFRESH: Final = 3
"""Seconds after which IPVS tells its peer of a connection again: the peer's timeouts are short,
too, and an entry that runs out there takes that of connection tracking along."""
USUAL: Final = (900, 120, 300)
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


def virtual_server(vip: str, port: int, rport: int, more: str = "") -> str:
    servers = "".join(
        f"  real_server {real_server(number)[':' in vip]} {rport} {{\n    weight 1\n  }}\n"
        for number in (1, 2, 3)
    )
    return (
        f"virtual_server {vip} {port} {{\n  lb_algo rr\n  lb_kind FNAT\n  protocol TCP\n"
        f"  laddr_group_name lips\n{more}{servers}}}\n"
    )


def configuration(number: int, leave: Path, *, synced: bool = True) -> str:
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
        text += (
            f"state_sync {{\n  interface {SYNC}\n  address {SYNC_ADDRESSES[number]}\n"
            f"  peer {SYNC_ADDRESSES[3 - number]}\n}}\n"
        )
    return text + "".join(
        (
            virtual_server(VIP4, 80, 8080),
            virtual_server(VIP6, 80, 8080),
            virtual_server(VIP4, 81, 8080, "  syn_proxy\n"),
            virtual_server(VIP4, 82, SPEAKER),
            virtual_server(VIP4, 83, DOWNLOAD),
            virtual_server(VIP4, 84, DOWNLOAD, "  syn_proxy\n"),
            virtual_server(VIP4, PERSISTENT, 8080, "  persistence_timeout 600\n"),
        )
    )


@dataclass
class Crowd:
    """Connections of several kinds."""

    members: list[tuple[str, Chatty | Idle | Stream]]
    speaker: Source

    def __len__(self) -> int:
        return len(self.members)

    def survivors(self) -> dict[str, int]:
        """Return how many of each kind go on, from now on."""
        for _, one in self.members:
            one.begin()
        self.speaker.speak()
        deadline = time.monotonic() + LOST_AFTER
        while True:
            alive = [one.works() for _, one in self.members]
            if all(alive) or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        counts = Counter({kind: 0 for kind, _ in self.members})
        for (kind, _), lives in zip(self.members, alive, strict=True):
            counts[kind] += lives
        return dict(counts)


@dataclass
class Site:
    pair: Pair
    folder: Path
    speaker: Source

    @property
    def active(self) -> int:
        """The one director that holds the VIPs; it is waited for."""
        wait_until(lambda: self._holder() > 0, "one director holds all VIPs")
        return self._holder()

    def served_by(self, number: int) -> None:
        """Wait until one director alone holds the VIPs."""
        wait_until(lambda: self._holder() == number, f"director {number} serves alone")

    def _holder(self) -> int:
        four, six = self.pair.holders(VIP4), self.pair.holders(VIP6)
        return four[0] if four == six and len(four) == 1 else 0

    def run(self, number: int, *command: str) -> str:
        return self.pair.lab.directors[number - 1].run(command).stdout

    @contextlib.contextmanager
    def crowd(self, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[Crowd]:
        """Open :data:`EACH` connections of each of the *kinds*."""
        client = self.pair.lab.client
        with contextlib.ExitStack() as stack:
            members: list[tuple[str, Chatty | Idle | Stream]] = []
            for kind in kinds:
                make, vip, port = KINDS[kind]
                for _ in range(EACH):
                    members.append((kind, one := make(client, vip, port)))
                    stack.callback(one.close)
            crowd = Crowd(members, self.speaker)
            assert crowd.survivors() == dict.fromkeys(kinds, EACH)
            yield crowd

    def server_of_client(self) -> str:
        """Return which real server a new connection to the persistent service gets."""
        with LongLived(self.pair.lab.client, VIP4, PERSISTENT, patience=PATIENCE) as talk:
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
        """Wait until a director knows as many connections as the crowd has."""
        wait_until(
            lambda: self.tracked(number) >= len(crowd),
            f"director {number} learns of the connections",
        )

    @contextlib.contextmanager
    def short_timeouts(self) -> Iterator[None]:
        """Have IPVS of both forget silent connections after :data:`SHORT`."""
        self._set_timeouts(SHORT, SHORT, SHORT)
        try:
            yield
        finally:
            self._set_timeouts(*USUAL)

    def _set_timeouts(self, *seconds: int) -> None:
        for number in PRIORITIES:
            self.run(number, "ipvsadm", "--set", *map(str, seconds))

    def leave(self, number: int, *, stay: bool = False) -> None:
        """Give a director a fault, or take it away."""
        leave_file(self.folder, number).write_text("0\n" if stay else "1\n")

    def move(self) -> int:
        """Have the active director hand over, and return which one has taken over."""
        active = self.active
        mark = time.monotonic()
        self.leave(active)
        self.served_by(3 - active)
        self.leave(active, stay=True)
        self.pair.follows(active, mark)
        return 3 - active

    def destroy(self, number: int) -> None:
        """Kill all processes of a director, and take its links away."""
        self.pair.daemons[number].kill()
        listing = ["ip", "netns", "pids", self.pair.lab.directors[number - 1].name]
        left = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        for pid in left.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not self.conntrackd(number), "its conntrackd is dead")
        self.pair.lab.cut(number)
        self.pair.lab.directors[number - 1].ip(f"link set {SYNC} down")

    def revive(self, number: int) -> None:
        """Start a destroyed director: its kernel is empty but for what only a boot could remove."""
        director = self.pair.lab.directors[number - 1]
        for command in ("conntrack -F", "ipvsadm -C", "nft flush ruleset"):
            director.run(command.split())
        assert self.tracked(number) == 0
        director.ip(f"link set {SYNC} up")
        self.pair.lab.mend(number)
        self.pair.revive(number)

    def conntrackd(self, number: int) -> int:
        """Return the process of a director's conntrackd, 0 for none."""
        folder = self.pair.daemons[number].run_dir
        return Conntrackd(folder / "conntrackd.ctl").process()


def leave_file(folder: Path, number: int) -> Path:
    return folder / f"leave{number}"


def write(folder: Path, *, synced: bool) -> None:
    for number in PRIORITIES:
        text = configuration(number, leave_file(folder, number), synced=synced)
        (folder / f"director{number}.conf").write_text(text)


def wait_until(condition: Callable[[], bool], what: str, limit: float = PATIENCE) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("state_sync")
    write(folder, synced=True)
    with Pair(folder, folder) as pair:
        one, two = pair.lab.directors
        one.run(["modprobe", "-a", *MODULES], check=False)
        one.ip(f"link add {SYNC} type veth peer name {SYNC} netns {two.name}")
        for number, director in enumerate((one, two), 1):
            leave_file(folder, number).write_text("0\n")
            director.ip(f"addr add {SYNC_ADDRESSES[number]}/24 dev {SYNC}", f"link set {SYNC} up")
            director.run(["sysctl", "-qw", "net.ipv4.vs.sync_threshold=0 1"])
        with (
            Source(pair.lab.servers, SPEAKER) as speaker,
            Source(pair.lab.servers, DOWNLOAD, DOWNLOAD_PACE),
        ):
            pair.start()
            for daemon in pair.daemons.values():
                daemon.wait_for("state_sync_peer_found", timeout=PATIENCE)
            yield Site(pair, folder, speaker)


def test_talking_connections_outlive_planned_moves_and_all_timeouts_of_ipvs(site: Site) -> None:
    """Who gave up forgets them in IPVS, and its conntrack with that: who serves is not told so."""
    active = site.active
    expected = dict.fromkeys(TALKING, EACH)
    with site.short_timeouts(), site.crowd(TALKING) as crowd:
        site.knows(3 - active, crowd)
        assert site.in_ipvs(active) >= len(crowd)
        taker = site.move()
        assert taker == 3 - active
        assert crowd.survivors() == expected
        wait_until(lambda: not site.in_ipvs(active), "IPVS of who gave up forgets them")
        time.sleep(3 * SHORT)
        assert crowd.survivors() == expected
        # What IPVS took along comes back with the next refresh.
        site.knows(active, crowd)
        assert site.move() == active
        assert crowd.survivors() == expected
        time.sleep(3 * SHORT)
        assert crowd.survivors() == expected


def test_all_connections_outlive_the_death_of_their_director_and_the_way_back(site: Site) -> None:
    active = site.active
    taker = 3 - active
    with site.crowd() as crowd:
        server = site.server_of_client()
        site.knows(taker, crowd)
        mark = time.monotonic()
        site.destroy(active)
        site.served_by(taker)
        assert crowd.survivors() == ALL
        log = site.pair.daemons[taker]
        took_over = log.wait_for("state_sync_took_over", since=mark, timeout=PATIENCE)
        assert took_over.fields["known"] >= len(crowd)
        assert took_over.fields["ipvs"] == "backup"
        log.wait_for("state_sync_hold_ended", since=mark, timeout=PATIENCE)
        log.wait_for("state_sync_cuts", since=mark, timeout=PATIENCE)
        # IPVS would take one server after the other, but for what its sync daemon has brought.
        assert {site.server_of_client() for _ in range(3)} == {server}

        site.revive(active)
        site.knows(active, crowd)
        assert site.active == taker
        assert crowd.survivors() == ALL
        assert site.pair.daemons[taker].stop() == 0
        assert not site.conntrackd(taker)
        site.served_by(active)
        assert crowd.survivors() == ALL


def test_without_state_sync_the_same_death_cuts_what_ipvs_cannot_keep(site: Site) -> None:
    active = site.active
    taker = 3 - active
    write(site.folder, synced=False)
    mark = site.pair.daemons[active].reload()
    site.pair.daemons[active].wait_for("reload_applied", since=mark, timeout=PATIENCE)
    if site.pair.daemons[taker].pids:
        site.pair.daemons[taker].stop()
    site.pair.revive(taker)
    wait_until(lambda: not site.conntrackd(active), "its conntrackd ends")
    assert not site.conntrackd(taker)
    with site.crowd() as crowd:
        assert site.active == active
        site.destroy(active)
        site.served_by(taker)
        survivors = crowd.survivors()
    assert {survivors[kind] for kind in (*BEHIND_COOKIES, "download", "server speaks")} == {0}
