"""Benchmark of the data path: what a request through the director costs, against plain IPVS NAT.

It runs where ip_vs is, in a VM that counts instructions as time, so that a second of CPU is 10**9
instructions whatever else the machine does. One CPU does all of it: the client (wrk), the network,
the director and the real servers (nginx), and so a ratio is nearer to 1 than the director's own.
What the director's own work costs is told by the lines below the rows, beyond that of a router.
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from bench.measure import Row

from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import Ruleset, Source, guard_text, render
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceKey,
)
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.lab.netns import inside, set_sysctls
from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import VIPS4, Laboratory, Plan, local_addresses, real_server
from lvskeeper.units import parse_address

SERVERS = 2
PORT, SERVER_PORT = 80, 8080
MANY = 1_000
SECONDS = 1
"""Of the guest, for one measurement: the least that wrk takes, and some thousand requests."""
PATIENCE = 36_000
"""Seconds of the guest for a program: its clock leaps ahead whenever it waits for a disk."""
CONNECTIONS = 8
MSS = 1460
AIM, FLOOR = 1.11, 1.2
"""The aim is that of the original FULLNAT: at most a tenth fewer connections than with NAT."""
SYNPROXY_AIM, SYNPROXY_FLOOR = 1.33, 1.5
SYNPROXY = "SYNPROXY"
CLIENTS = "192.0.2.0/24"
FIREWALL = """
table inet bench {
  chain keep {
    type filter hook forward priority 0; policy accept;
    ct state invalid counter
  }
}
"""
"""What any firewall with connection tracking brings along."""
NAT_HOOK = guard_text().replace("flags owner;", "")
"""Connection tracking and a nat chain without a rule that translates."""


@final
@dataclass(frozen=True, slots=True)
class Mode:
    """A way through the director."""

    name: str
    services: int = 1
    """Virtual services in the table; 0: the director is a router."""
    conntrack: bool = True
    """``net.ipv4.vs.conntrack``."""
    nft: str = ""


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a thousand requests."""

    fresh: float
    """With a connection for each."""
    kept: float
    """On connections that are kept."""


def service(number: int) -> ServiceKey:
    """Return the key of a service; the first of them is the one that is asked."""
    return ServiceKey(Family.INET, Protocol.TCP, parse_address(VIPS4[0]), PORT + number)


def table(services: int) -> dict[ServiceKey, Entry]:
    """Return the IPVS table: every service has the same real servers."""
    keys = [DestKey(parse_address(real_server(n + 1)[0]), SERVER_PORT) for n in range(SERVERS)]
    held = {key: Destination(key, Forward.NAT, 1) for key in keys}
    return {key: Entry(Service(key, "rr"), held) for key in map(service, range(services))}


def fullnat(services: int, *, syn_proxy: bool = False) -> str:
    """Return our ruleset for the services, with the laboratory's pool."""
    pool = Pool.of("lips", (parse_address(lip) for lip in local_addresses()[0]))
    keys = [service(number) for number in range(services)]
    cookies = Cookies(dict.fromkeys(keys, SynProxy(MSS)) if syn_proxy else {})
    return render(Ruleset((pool,), dict.fromkeys(keys, Source(pool.name)), cookies))


def ours(services: int, *, syn_proxy: bool = False) -> Mode:
    """Return the mode of our rulesets, the guard's among them."""
    name = f"FULLNAT, {SYNPROXY}" if syn_proxy else "FULLNAT"
    if services > 1:
        name += f", {services:,} of them"
    return Mode(name, services, nft=NAT_HOOK + fullnat(services, syn_proxy=syn_proxy))


def modes() -> list[Mode]:
    """Return what is compared: what the rows need comes first, then what tells parts apart."""
    return [
        Mode("router", services=0, conntrack=False),
        Mode("NAT", conntrack=False),
        ours(1),
        ours(1, syn_proxy=True),
        Mode("NAT, conntrack", nft=FIREWALL),
        Mode("NAT, conntrack, nat hook", nft=NAT_HOOK),
        ours(MANY),
        ours(MANY, syn_proxy=True),
    ]


def program(lab: Laboratory, mode: Mode) -> None:
    """Bring the director into a mode."""
    director = lab.director
    text = "flush ruleset\n" + mode.nft
    director.run(["nft", "-f", "-"], input_text=text, timeout=PATIENCE)
    director.run(["conntrack", "-F"], check=False, timeout=PATIENCE)

    def follow() -> int:
        client = IpvsClient()
        client.open()
        desired, actual = table(mode.services), client.table()
        failures = client.apply(diff(desired, actual, owned=desired.keys() | actual.keys()))
        client.close()
        return len(failures)

    if inside(director.name, follow):
        sys.exit(f"{mode.name}: the kernel refused services")
    set_sysctls(director.name, {"ipv4/vs/conntrack": str(int(mode.conntrack))})


def idle() -> float:
    """Return the seconds that the CPU has had nothing to do."""
    return int(Path("/proc/stat").read_text().split()[4]) / 100


def load(lab: Laboratory, url: str, *, kept: bool) -> float:
    """Return the CPU seconds of a thousand requests of wrk."""
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]
    if not kept:
        words += ["-H", "Connection: close"]
    unused, began = idle(), time.monotonic()
    said = lab.client.run(words, timeout=PATIENCE).stdout
    took, unused = time.monotonic() - began, idle() - unused
    done = re.search(r"(\d+) requests in ([\d.]+)(m?)s", said)
    if done is None or "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"wrk has failed:\n{said}")
    count, lasted = int(done[1]), float(done[2]) / (1000 if done[3] else 1)
    if took - unused < 0.9 * lasted:
        sys.exit(f"the CPU was idle for {lasted - took + unused:.2f} of {lasted:.2f} s")
    return 1000 * lasted / count


def measure() -> Iterator[tuple[str, Cost]]:
    """Yield each mode's name and cost."""
    with tempfile.TemporaryDirectory() as name, Laboratory(Plan(servers=SERVERS)) as lab:
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", SERVER_PORT, Path(name, f"nginx{number}"))
            space.ip(f"route add {CLIENTS} via 10.1.{number}.1")
        lab.router.ip(f"route add {CLIENTS} via 10.0.0.1")
        lab.client.ip("route add 10.1.0.0/16 via 192.0.2.1")
        for mode in modes():
            program(lab, mode)
            asked = (VIPS4[0], PORT) if mode.services else (real_server(1)[0], SERVER_PORT)
            url = "http://{}:{}/".format(*asked)
            yield mode.name, Cost(load(lab, url, kept=False), load(lab, url, kept=True))


def main() -> None:
    """Print each mode as soon as it is measured, the rows, and what each part costs."""
    print("     D1: 1,000 requests on new connections each, and on kept ones; a guest's CPU in all")
    costs: dict[str, Cost] = {}
    for name, cost in measure():
        costs[name] = cost
        print(f"     D1 {name:36} {1e3 * cost.fresh:7.1f} {1e3 * cost.kept:7.1f} ms", flush=True)
        if name.startswith("FULLNAT"):
            print_rows(name, cost, costs["NAT"])
    router = costs["router"]
    print("     D1 beyond a router, in 1,000 instructions a request: new connection, kept one")
    for name, cost in costs.items():
        fresh, kept = 1e3 * (cost.fresh - router.fresh), 1e3 * (cost.kept - router.kept)
        print(f"          {name:36} {fresh:6.1f} {kept:6.1f}", flush=True)


def print_rows(name: str, cost: Cost, nat: Cost) -> None:
    """Print how a mode compares with plain NAT."""
    aim, floor = (SYNPROXY_AIM, SYNPROXY_FLOOR) if SYNPROXY in name else (AIM, FLOOR)
    for what, spent, anchor in (("new", cost.fresh, nat.fresh), ("kept", cost.kept, nat.kept)):
        row = Row("D1", f"{what}: {name}", spent, "IPVS NAT, 1,000 times", anchor, floor, aim)
        print(row, flush=True)


if __name__ == "__main__":
    main()
