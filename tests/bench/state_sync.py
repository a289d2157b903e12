"""How conntrackd's modes do as the engine of state sync; prints the table of docs/state-sync.md.

Two directors in network namespaces of this host, with our own ruleset, and plain nft in the place
of IPVS. ``python -m bench.state_sync [MODE ...]``, with ``tests`` as PYTHONPATH, as root.
"""

import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from support.sync_pair import (
    ECHO,
    LIPS,
    LOSS,
    PORTS,
    REAL,
    SERVER_ADDRESS,
    SYNC,
    VIP,
    Datagrams,
    Flow,
    Pair,
    Servers,
)

MODES: Final = {
    "ftfw": "Mode FTFW { ResendQueueSize 131072 }",
    "ftfw-inject": "Mode FTFW {\nResendQueueSize 131072\nDisableExternalCache On\n}",
    "notrack-inject": "Mode NOTRACK { DisableExternalCache On }",
    "filtered": "Mode FTFW {\nResendQueueSize 131072\nDisableExternalCache On\n}",
}
STATES: Final = "State Accept { ESTABLISHED CLOSED TIME_WAIT CLOSE_WAIT for TCP }"
"""What ``filtered`` sends of TCP."""
EACH: Final = 20
KINDS: Final = {
    80: "idle, client first", 81: "server first", 82: "download", 83: "upload",
    180: "SYN cookies, idle", 181: "SYN cookies, server first", 182: "SYN cookies, download",
    183: "SYN cookies, upload", 0: "UDP",
}  # fmt: skip
MANY: Final = 2000
"""Connections opened and closed for the loss and the CPU time."""
BIG: Final = 25_000
"""Entries for the time of a commit."""
SHORT: Final = 6
"""Seconds of the timeouts that traffic refreshes on the active side only."""


def config(mode: str, side: str, folder: Path) -> str:
    """Return the configuration of conntrackd of one side."""
    other = "b" if side == "a" else "a"
    return f"""
Sync {{
  {MODES[mode]}
  UDP {{
    IPv4_address {SYNC[side]}
    IPv4_Destination_Address {SYNC[other]}
    Port 3780
    Interface sync
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }}
}}
General {{
  HashSize 65536
  HashLimit 524288
  LogFile {folder}/{side}.daemon.log
  LockFile {folder}/{side}.lock
  UNIX {{
    Path {folder}/{side}.ctl
  }}
  NetlinkBufferSize 2097152
  NetlinkBufferSizeMaxGrowth 8388608
  Filter From Kernelspace {{
    Protocol Accept {{
      TCP
      UDP
      SCTP
    }}
    Address Ignore {{
      IPv4_address 127.0.0.1
      IPv4_address {SYNC["a"]}
      IPv4_address {SYNC["b"]}
    }}
    {STATES if mode == "filtered" else ""}
  }}
}}
"""


class Rig:
    """A pair with one mode, and what is measured of it."""

    def __init__(self, mode: str, pair: Pair, servers: Servers) -> None:
        self.mode, self.pair, self.servers = mode, pair, servers
        self.inject = mode != "ftfw"

    def start(self, side: str) -> None:
        self.pair.start(side, config(self.mode, side, self.pair.folder))

    async def ask(self, side: str, option: str) -> float:
        """Ask, off the loop, and return the seconds that it took."""
        started = time.monotonic()
        await asyncio.to_thread(self.pair.ask, side, option)
        return time.monotonic() - started

    def known(self, side: str) -> int:
        """Return how many connections that the other side serves *side* could take over now."""
        if self.inject:
            return self.pair.entries(side)
        return sum(VIP in line for line in self.pair.ask(side, "-e").splitlines())

    async def take_over(self, side: str) -> float:
        """Do what a take-over needs before traffic comes; return the seconds of the commit."""
        seconds = 0.0 if self.inject else await self.ask(side, "-c")
        self.pair.serve_by(side)
        if not self.inject:
            await self.ask(side, "-f external")
        await self.ask(side, "-R")
        return seconds

    async def settled(self, count: Callable[[], int], wanted: int, patience: float = 5) -> int:
        """Return *count* when it is *wanted*, or what it is after *patience* seconds."""
        deadline = time.monotonic() + patience
        while (now := count()) < wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.2)
        return now


@contextlib.asynccontextmanager
async def rig(mode: str) -> AsyncIterator[Rig]:
    """Have a pair with conntrackd on both sides."""
    with tempfile.TemporaryDirectory() as folder, Pair(Path(folder)) as pair:
        servers = Servers(pair)
        await servers.start()
        made = Rig(mode, pair, servers)
        made.start("a")
        made.start("b")
        try:
            yield made
        finally:
            await servers.stop()


def survivors(counted: Counter[int]) -> str:
    """Return how many survived, and which kinds did not wholly."""
    lost = [f"{KINDS[port]} {counted[port]}" for port in KINDS if counted[port] < EACH]
    return f"{counted.total()} of {EACH * len(KINDS)}" + (f" ({', '.join(lost)})" if lost else "")


async def judge(rig: Rig, flows: list[Flow | Datagrams]) -> Counter[int]:
    """Return per kind how many of *flows* still work."""
    rig.servers.greet_again()
    verdicts = await asyncio.gather(*(flow.alive() for flow in flows))
    return Counter(flow.port for flow, good in zip(flows, verdicts, strict=True) if good)


async def measure_survivors(rig: Rig, report: Callable[[str, str], None]) -> None:
    """Fail over to B, restart A empty, fail back."""
    pair = rig.pair
    flows: list[Flow | Datagrams] = [Datagrams(pair) for _ in range(EACH)]
    flows += [Flow(pair, rig.servers, port, number) for port in PORTS for number in range(EACH)]
    for flow in flows:
        await flow.open()
    total = len(flows)
    await rig.settled(lambda: rig.known("b"), total)
    pair.cut("a")
    seconds = await rig.take_over("b")
    report("survivors of the fail-over", survivors(await judge(rig, flows)))
    report("commit of 180 entries, s", f"{seconds:.2f}" if seconds else "none")
    pair.replace("a")
    rig.start("a")
    steps = [f"start {await rig.settled(lambda: rig.known('a'), total, 1.5)}"]
    for side, option in (("a", "-n"), ("b", "-R"), ("b", "-B")):
        if rig.known("a") < total:
            await rig.ask(side, option)
            now = await rig.settled(lambda: rig.known("a"), total, 2)
            steps.append(f"{'its' if side == 'a' else 'the peer'} {option} {now}")
    report("entries of the peer made anew after", ", ".join(steps))
    pair.cut("b")
    await rig.take_over("a")
    report("survivors of the fail-back", survivors(await judge(rig, flows)))
    for flow in flows:
        await flow.close()


async def measure_restart(rig: Rig, report: Callable[[str, str], None]) -> None:
    """Kill and start conntrackd alone, first the backup's, then the active one's."""
    pair = rig.pair
    flows = [Flow(pair, rig.servers, ECHO, number) for number in range(EACH)]
    for flow in flows:
        await flow.open()
    await rig.settled(lambda: rig.known("b"), EACH)
    pair.kill("b")
    rig.start("b")
    steps = [f"start {await rig.settled(lambda: rig.known('b'), EACH, 1.5)}"]
    if rig.known("b") < EACH:
        await rig.ask("b", "-n")
        steps.append(f"-n {await rig.settled(lambda: rig.known('b'), EACH, 2)}")
    report(f"entries of {EACH} after a restart of the backup's", ", ".join(steps))
    pair.kill("a")
    late = [Flow(pair, rig.servers, ECHO, EACH + number) for number in range(EACH)]
    for flow in late:
        await flow.open()
    rig.start("a")
    total = 2 * EACH
    steps = [f"start {await rig.settled(lambda: rig.known('b'), total, 1.5)}"]
    for side, option in (("b", "-n"), ("a", "-B"), ("a", "-R")):
        if rig.known("b") < total:
            await rig.ask(side, option)
            now = await rig.settled(lambda: rig.known("b"), total, 2)
            steps.append(f"{'its' if side == 'b' else 'the peer'} {option} {now}")
    report(f"of {total}, {EACH} opened while the active one's was down", ", ".join(steps))
    for flow in (*flows, *late):
        await flow.close()


def cpu_seconds(process: int) -> float:
    """Return the user and system seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_load(rig: Rig, report: Callable[[str, str], None], *, loss: bool) -> None:
    """Open and close many connections, without and with lost sync packets."""
    pair = rig.pair
    if loss:
        for side in ("a", "b"):
            pair.run(side, "nft -f -", data=LOSS)
    before = [cpu_seconds(pair.daemons[side].pid) for side in ("a", "b")]
    started = time.monotonic()
    batch = 100
    for _ in range(MANY // batch):
        flows = [Flow(pair, rig.servers, ECHO, number) for number in range(batch)]
        await asyncio.gather(*(flow.open() for flow in flows))
        for flow in flows:
            await flow.close()
    seconds = time.monotonic() - started
    kept = [Flow(pair, rig.servers, ECHO, number) for number in range(500)]
    for flow in kept:
        await flow.open()
    open_ones = "-p tcp --state ESTABLISHED"
    if loss:
        await asyncio.sleep(2)
        if rig.inject:
            there = pair.entries("b", open_ones)
        else:
            lines = pair.ask("b", "-e").splitlines()
            there = sum("ESTABLISHED" in line for line in lines)
        report("of 500 open ones known with 1 % loss", str(there))
    else:
        after = [cpu_seconds(pair.daemons[side].pid) for side in ("a", "b")]
        count = MANY + len(kept)
        costs = [(late - early) / count * 1e6 for early, late in zip(before, after, strict=True)]
        report("CPU a connection, active / backup, us", f"{costs[0]:.0f} / {costs[1]:.0f}")
        report("(connections a second)", f"{MANY / seconds:.0f}")
    for flow in kept:
        await flow.close()


async def measure_big(rig: Rig, report: Callable[[str, str], None]) -> None:
    """Fill A's table, and see what becomes of it on B."""
    pair = rig.pair
    lines = []
    for number in range(BIG):
        client, port = "192.0.2.100", 10_000 + number
        lines.append(
            f"-I -p tcp -s {client} -d {VIP} --sport {port} --dport {ECHO} -t 3600 "
            f"--state ESTABLISHED -u ASSURED --dst-nat {SERVER_ADDRESS}:{ECHO + REAL} "
            f"--src-nat {LIPS[0]}\n"
        )
    file = pair.folder / "entries"
    file.write_text("".join(lines))
    before = [cpu_seconds(pair.daemons[side].pid) for side in ("a", "b")]
    await asyncio.to_thread(pair.run, "a", f"conntrack -R {file} >/dev/null", check=False)
    filled = time.monotonic()
    held = pair.entries("a")
    there = await rig.settled(lambda: rig.known("b"), held, 10)
    lag = time.monotonic() - filled
    after = [cpu_seconds(pair.daemons[side].pid) for side in ("a", "b")]
    costs = [(late - early) / held * 1e6 for early, late in zip(before, after, strict=True)]
    report("entries known of a big table", f"{there} of {held}, {lag:.1f} s after the last")
    report("CPU an entry, active / backup, us", f"{costs[0]:.0f} / {costs[1]:.0f}")
    active = pair.daemons["a"].pid
    early = cpu_seconds(active), cpu_seconds(pair.daemons["b"].pid)
    seconds = await rig.ask("a", "-R") + await rig.ask("a", "-B")
    await asyncio.sleep(5)
    late = cpu_seconds(active), cpu_seconds(pair.daemons["b"].pid)
    report(
        "CPU of -R and -B on the active one, both sides, s",
        f"{late[0] - early[0]:.2f} / {late[1] - early[1]:.2f} (answered after {seconds:.2f} s)",
    )
    if not rig.inject:
        pair.cut("a")
        report("commit of the big table, s", f"{await rig.ask('b', '-c'):.2f}")
        report("in the kernel after it", str(pair.entries("b")))


async def measure_refresh(rig: Rig, report: Callable[[str, str], None]) -> None:
    """Keep connections alive by traffic for longer than their timeouts."""
    pair = rig.pair
    names = ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established")
    settings = " ".join(f"net.netfilter.nf_conntrack_{name}={SHORT}" for name in names)
    for side in ("a", "b"):
        pair.run(side, f"sysctl -qw {settings}")
    flows: list[Flow | Datagrams] = [Datagrams(pair), Flow(pair, rig.servers, ECHO, 0)]
    for flow in flows:
        await flow.open()

    async def chat(*options: str) -> str:
        for _ in range(2 * SHORT):
            for flow in flows:
                assert await flow.alive()
            for option in options:
                await rig.ask("a", option)
            await asyncio.sleep(1)
        if rig.inject:
            listing = pair.run("b", f"conntrack -L -d {VIP} 2>/dev/null")
        else:
            listing = pair.ask("b", "-e")
        return " ".join(sorted(set(re.findall(r"^(tcp|udp)", listing, re.MULTILINE)))) or "none"

    report("known after 2 timeouts of traffic", await chat())
    report("the same with -R every second", await chat("-R"))
    report("the same with -B every second", await chat("-B"))
    for flow in flows:
        await flow.close()


async def measure(mode: str) -> dict[str, str]:
    """Return all that is said of one mode."""
    rows: dict[str, str] = {}

    def report(what: str, value: str) -> None:
        rows[what] = value
        print(f"{mode:15} | {what} | {value}", flush=True)

    async with rig(mode) as made:
        await measure_survivors(made, report)
    async with rig(mode) as made:
        await measure_restart(made, report)
        await measure_load(made, report, loss=False)
        await measure_load(made, report, loss=True)
    async with rig(mode) as made:
        await measure_refresh(made, report)
    async with rig(mode) as made:
        await measure_big(made, report)
    return rows


def main() -> None:
    """Measure the modes named, or all, and print the table."""
    modes = sys.argv[1:] or list(MODES)
    found = {mode: asyncio.run(measure(mode)) for mode in modes}
    rows = list(dict.fromkeys(what for rows in found.values() for what in rows))
    print("| | " + " | ".join(modes) + " |")
    print("|---" * (len(modes) + 1) + "|")
    for what in rows:
        print(f"| {what} | " + " | ".join(found[mode].get(what, "-") for mode in modes) + " |")


if __name__ == "__main__":
    main()
