"""The demonstration: a director at work in the laboratory, step by step, with what each shows.

``lvskeeper demo`` runs this where ip_vs is. Its exit status is 0 only if every step held.
"""

import contextlib
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import ExitStatus
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.demo_pair import second_act
from lvskeeper.lab.kernels import inside_vm
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.servers import Server, start_servers
from lvskeeper.lab.stage import Stage
from lvskeeper.lab.topology import BACK, VIPS4, Laboratory, Plan, real_server
from lvskeeper.lab.traffic import Counts, Traffic

VIP: Final = VIPS4[0]
LIPS: Final = tuple(f"10.0.0.{number}" for number in range(10, 14))
RATE: Final = 20.0
"""Requests a second; each is a new connection."""
PATIENCE: Final = 6.0
"""Seconds for a request.

While a daemon starts, the emulated machine has no CPU left: requests whose SYN was answered within
a millisecond were seen to take more than a second. A SYN that gets lost is sent again twice here.
"""
RELOAD_LIMIT: Final = 120.0
"""Seconds; emulation makes Python's imports slow."""

CONFIGURATION: Final = """\
local_address_group lips {
    10.0.0.10-13 %(device)s
}
virtual_server %(vip)s 80 {
    delay_loop 1
    lb_algo wrr
    lb_kind FNAT
    protocol TCP
    laddr_group_name lips
    retry 1
    delay_before_retry 0.3
%(servers)s}
"""

REAL_SERVER: Final = """\
    real_server %s 8080 {
        weight %d
        TCP_CHECK {
            connect_timeout 1
        }
    }
"""


def configuration(*weights: int) -> str:
    """Return the demonstration's configuration with a real server for each weight."""
    servers = "".join(
        REAL_SERVER % (real_server(number)[0], weight) for number, weight in enumerate(weights, 1)
    )
    return CONFIGURATION % {"device": BACK, "vip": VIP, "servers": servers}


@final
class Demonstration:
    """The laboratory with everything in it, and the steps."""

    def __init__(self, lab: Laboratory, folder: Path, stage: Stage) -> None:
        self.lab = lab
        self.stage = stage
        self.file = folder / "demo.conf"
        self.servers = [
            Server(space, f"rs{number}", http=[8080]) for number, space in enumerate(lab.servers, 1)
        ]
        self.daemon = Daemon(lab.director, self.file, folder / "run")

    def run(self) -> bool:
        """Go through all steps; return whether they held."""
        self._introduce()
        self.file.write_text(configuration(1, 1, 1))
        start_servers(self.servers)
        self.stage.say("three real servers are up")
        with self.daemon:
            self._start()
            with (
                Traffic(self.lab.client, f"http://{VIP}/", rate=RATE, timeout=PATIENCE) as traffic,
                LongLived(self.lab.client, VIP, 80) as survivor,
            ):
                self.traffic = traffic
                self._fullnat()
                self._server_dies_and_returns()
                self._reload()
                self._broken_file()
                self._flush_table()
                self._flush_ruleset()
                self._kill()
                total = traffic.stop()
            self._stop()
        return self.stage.summary(total, survivor)

    def _introduce(self) -> None:
        where = "a VM with " if inside_vm() else ""
        print(
            f"lvskeeper demo on {where}Linux {platform.release()}, a stock kernel\n\n"
            "  client 192.0.2.10 --- director --- router --- rs1, rs2, rs3\n"
            f"                        VIP {VIP}      no route back to the client\n"
            f"                        LIPs {LIPS[0]}-13\n\n"
            "The real servers have no route to the client: only FULLNAT can work here.\n",
            flush=True,
        )
        print(configuration(1, 1, 1), flush=True)

    def _start(self) -> None:
        self.stage.open(
            "the director starts",
            "it reads the file, fills the kernel's tables and reads them back",
        )
        ready = self.daemon.start()
        assert ready is not None
        self.stage.quote(ready, "operations", "took")
        held = ready.fields["operations"] == 4 and ready.fields["refused"] == 0
        self.stage.close(held=held)

    def _fullnat(self) -> None:
        self.stage.open(
            "FULLNAT on a stock kernel",
            "IPVS translates the destination, nftables the source to a LIP",
        )
        with self._watching() as judge:
            counts = self.traffic.wait_for(lambda seen: len(seen.servers) == 3 and seen.sent >= 60)
            last = self.traffic.last
            assert last is not None
            self.stage.say(f"   an answer: server {last.server} saw the client as {last.peer}")
            self.stage.say(f"   LIPs seen: {', '.join(sorted(counts.peers))}")
            judge(set(counts.peers) <= set(LIPS))

    def _server_dies_and_returns(self) -> None:
        self.stage.open(
            "a real server is killed", "its check fails, it leaves the table; no one else notices"
        )
        mark = self.traffic.mark()
        self.servers[1].kill()
        down = self.daemon.wait_for("real_server_down", since=mark)
        self.stage.quote(down, "real_server", "phase", "reason", "attempts")
        applied = self.daemon.wait_for("health_applied", since=mark)
        self.stage.quote(applied, "operations", "took")
        gone = self._until(lambda: len(self._destinations()) == 2)
        self.stage.say(f"   out of the kernel's table {gone - mark:.2f} s after the kill")
        refused = self._settled_failures(mark, gone)
        with self._watching(explained=refused) as judge:
            counts = self._more(40)
            judge("rs2" not in counts.servers)

        self.stage.open("it comes back", "one good check is enough")
        with self._watching() as judge:
            mark = self.traffic.mark()
            self.servers[1].start()
            up = self.daemon.wait_for("real_server_up", since=mark)
            self.stage.quote(up, "real_server", "reason")
            self.traffic.wait_for(lambda seen: "rs2" in seen.servers, since=mark)
            judge(True)

    def _reload(self) -> None:
        self.stage.open(
            "a reload changes weights", "edited in place; nothing is deleted and added again"
        )
        with self._watching() as judge:
            self.file.write_text(configuration(4, 1, 1))
            mark = self.daemon.reload()
            applied = self.daemon.wait_for("reload_applied", since=mark, timeout=RELOAD_LIMIT)
            self.stage.quote(applied, "operations", "took")
            counts = self._more(60)
            self.stage.say(f"   {counts}")
            most = max(counts.servers, key=lambda name: counts.servers[name])
            judge(applied.fields["operations"] == 1 and most == "rs1")

    def _broken_file(self) -> None:
        self.stage.open(
            "a broken file is refused", "a reload is a transaction: with errors, nothing changes"
        )
        with self._watching() as judge:
            good = self.file.read_text()
            self.file.write_text(good.replace("lb_algo wrr", "lb_algo fastest"))
            mark = self.daemon.reload()
            refused = self.daemon.wait_for("reload_refused", since=mark, timeout=RELOAD_LIMIT)
            for line in self.daemon.noise.splitlines()[-5:]:
                self.stage.say(f"   | {re.sub(r'^.*/', '', line)}")
            self.file.write_text(good)
            self._more(20)
            judge(refused.fields["errors"] == 1 and len(self._destinations()) == 3)

    def _flush_table(self) -> None:
        self.stage.open(
            "ipvsadm -C by hand", "somebody flushes the table: it is repaired within a second"
        )
        mark = self.traffic.mark()
        self.lab.director.run(["ipvsadm", "-C"])
        repaired = self.daemon.wait_for("drift_repaired", since=mark)
        self.stage.quote(repaired, "differences", "took")
        self.stage.say(f"   repaired {repaired.seen - mark:.2f} s after the command was given")
        missed = self._settled_failures(mark, repaired.seen)
        with self._watching(explained=missed) as judge:
            self._more(20)
            judge(len(self._destinations()) == 3)

    def _flush_ruleset(self) -> None:
        self.stage.open(
            "nft flush ruleset by hand",
            "a firewall script flushes everything: the guard keeps connections",
        )
        mark = self.traffic.mark()
        self.lab.director.run(["nft", "flush", "ruleset"])
        repaired = self.daemon.wait_for("ruleset_repaired", since=mark)
        self.stage.quote(repaired, "difference", "took")
        self.stage.say(f"   repaired {repaired.seen - mark:.2f} s after the command was given")
        missed = self._settled_failures(mark, repaired.seen)
        with self._watching(explained=missed) as judge:
            counts = self._more(20)
            judge(set(counts.peers) <= set(LIPS))

    def _kill(self) -> None:
        self.stage.open(
            "kill -9, and a new start",
            "the kernel goes on alone; the new daemon adopts what it finds",
        )
        with self._watching() as judge:
            self.daemon.kill()
            self._more(20)
            mark = time.monotonic()
            ready = self.daemon.start()
            assert ready is not None
            adopted = self.daemon.wait_for("table_adopted", since=mark)
            self.stage.quote(adopted, "services", "destinations")
            self.stage.quote(ready, "operations", "took")
            self._more(20)
            judge(ready.fields["operations"] == 0)

    def _stop(self) -> None:
        self.stage.open("a clean stop", "what is ours leaves the kernel, and nothing else")
        status = self.daemon.stop()
        tables = self.lab.director.run(["nft", "list", "tables"]).stdout
        addresses = self.lab.director.run(["ip", "-o", "address", "show", "dev", BACK]).stdout
        left = [
            name
            for name, there in (
                ("services", bool(self._services())),
                ("nftables tables", "lvskeeper" in tables),
                ("LIPs", any(f" {lip}/32" in addresses for lip in LIPS)),
            )
            if there
        ]
        self.stage.say(f"   left behind: {', '.join(left) or 'nothing'}")
        self.stage.close(held=status == 0 and not left)

    @contextlib.contextmanager
    def _watching(self, *, explained: int = 0) -> Iterator[Callable[[bool], None]]:
        """Count the requests of the block, in which none may fail; the block gives its verdict."""
        mark = self.traffic.mark()
        verdicts: list[bool] = []
        yield verdicts.append
        counts = self.traffic.since(mark)
        if counts.failed:
            self.stage.say(f"   {counts}")
        held = counts.failed == 0 and all(verdicts)
        self.stage.close(held=held, counts=counts, explained=explained)

    def _more(self, number: int) -> Counts:
        """Wait for *number* further requests and return their score."""
        mark = self.traffic.mark()
        return self.traffic.wait_for(lambda seen: seen.sent >= number, since=mark)

    def _settled_failures(self, mark: float, until: float) -> int:
        """Return the failures of what was under way between two moments, once all has ended."""
        self.traffic.wait_for(lambda seen: seen.sent >= 1, since=time.monotonic() + PATIENCE)
        failed = self.traffic.between(mark, until).failed
        requests = "request" if failed == 1 else "requests"
        self.stage.say(f"   {failed} {requests} failed until then, {RATE:g} a second were sent")
        return failed

    def _until(self, condition: Callable[[], bool]) -> float:
        deadline = time.monotonic() + 10
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the kernel's table did not follow")
            time.sleep(0.01)
        return time.monotonic()

    def _services(self) -> list[str]:
        listing = self.lab.director.run(["ipvsadm", "-Sn"]).stdout
        return [line for line in listing.splitlines() if line.startswith("-A")]

    def _destinations(self) -> list[str]:
        listing = self.lab.director.run(["ipvsadm", "-Sn"]).stdout
        return [line for line in listing.splitlines() if line.startswith("-a")]


def first_act(stage: Stage) -> bool:
    """Show one director; return whether all that the steps do not judge held."""
    with (
        tempfile.TemporaryDirectory(prefix="lvskeeper-demo-") as folder,
        Laboratory(Plan(lips=False, forwarding=False)) as lab,
    ):
        return Demonstration(lab, Path(folder), stage).run()


def main() -> int:
    """Run the demonstration on this kernel."""
    IpvsClient().open()
    stage = Stage()
    acts = [act(stage) for act in (first_act, second_act)]
    return ExitStatus.OK if stage.ended(held=all(acts)) else ExitStatus.ATTENTION


if __name__ == "__main__":
    sys.exit(main())
