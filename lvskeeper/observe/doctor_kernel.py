"""Doctor's look at the kernel: modules, dialect, nft, sysctls, capabilities, conntrack, clock."""

import asyncio
import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.types import Family
from lvskeeper.kernel.capabilities import effective
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.nft import SEARCH_PATH, Nft
from lvskeeper.kernel.sysctls import (
    ROOT,
    Requirement,
    State,
    ensure,
    read_number,
    recommended_for_fullnat,
    required_for_fullnat,
)
from lvskeeper.kernel.sysctls import (
    Finding as Sysctl,
)
from lvskeeper.observe.doctor import Finding, Needs, ok, problem, warning

CLOCK: Final = Path("/sys/devices/system/clocksource/clocksource0")
SLOW_CLOCKS: Final = frozenset({"hpet", "acpi_pm", "jiffies", "pit"})
"""Clock sources that cost a microsecond and more at each look."""

NEARLY_FULL: Final = 0.8
PATIENCE: Final = 10.0
"""Seconds that a helper program may take."""

_STA_UNSYNC: Final = 0x40
"""``linux/timex.h``"""

_LATE: Final = "behind SYN cookies a client whose first SYN is lost may begin a second late"
FEATURES: Final = {
    "source NAT": ("nat", "postrouting", "ip protocol tcp snat to 192.0.2.1", "no FULLNAT"),
    "SYN cookies": (
        "filter", "input", "tcp dport 80 synproxy mss 1460 wscale 7 timestamp sack-perm",
        "no syn_proxy",
    ),
    "notrack": ("filter", "prerouting", "tcp dport 80 notrack", "no syn_proxy"),
    "reset tcp option": ("filter", "prerouting", "reset tcp option timestamp", _LATE),
}  # fmt: skip
"""Kind and hook of a chain, a rule, and what follows where it is refused."""


def modules(needs: Needs) -> Iterator[Finding]:
    """Yield whether ip_vs and its schedulers are loaded, or can be."""
    if not needs.ipvs:
        return
    if not _loaded("ip_vs"):
        if _loadable("ip_vs"):
            yield warning(
                "modules", "ip_vs is not loaded; the daemon has it loaded", "modprobe ip_vs"
            )
        else:
            yield problem(
                "modules", f"kernel {platform.release()} has no ip_vs",
                "(boot a kernel with CONFIG_IP_VS: apt-get install "
                f"linux-image-{_architecture()})",
            )  # fmt: skip
            return
    names = [f"ip_vs_{name}" for name in needs.schedulers]
    missing = [name for name in names if not (_loaded(name) or _loadable(name))]
    if missing:
        yield problem(
            "modules", f"{', '.join(missing)}: not in this kernel",
            "(take another lb_algo; ls /lib/modules/$(uname -r)/kernel/net/netfilter/ipvs)",
        )  # fmt: skip
    elif _loaded("ip_vs"):
        more = f", {', '.join(names)}" if names else ""
        yield ok("modules", f"ip_vs{more}")


def dialect(needs: Needs) -> Iterator[Finding]:
    """Yield what the kernel's IPVS speaks."""
    try:
        traits = _traits(needs)
    except OperatorError as error:
        yield problem("dialect", error.message, f"({error.hint})" if error.hint else "")
        return
    if traits is not None:
        way = "native" if traits.native_fullnat else "by nftables"
        yield ok("dialect", f"{traits.dialect.value}, FULLNAT {way}")


def of_dialect(needs: Needs) -> Needs:
    """Return what is left of *needs* where the kernel has a FULLNAT of its own, as far as is known.

    It takes its packets before netfilter, routing and connection tracking see them.
    """
    try:
        traits = _traits(needs)
    except OperatorError:
        return needs  # which :func:`dialect` tells
    if traits is None or not traits.native_fullnat:
        return needs
    return replace(needs, native=True, fullnat=frozenset(), cookies=False, connections=0, behind={})


def _traits(needs: Needs) -> Traits | None:
    """Ask IPVS what it is, where it is needed and there to be asked; raise as the kernel does."""
    if not needs.ipvs or not _loaded("ip_vs") or "NET_ADMIN" not in effective():
        return None
    client = IpvsClient()
    client.open()
    traits = client.traits
    client.close()
    return traits


def nft_features(needs: Needs) -> Iterator[Finding]:
    """Yield whether nft is there, and whether it and the kernel know what the rulesets need."""
    for_fullnat = bool(needs.fullnat) or not (needs.given or needs.native)
    if not (for_fullnat or needs.firewall):
        return
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")
    if program is None:
        tell = problem if needs.fullnat or needs.firewall else warning
        what = "no FULLNAT" if for_fullnat else "no_accept and use_vmac do not block packets"
        yield tell("nft", f"the nft program is not here: {what}", "apt-get install nftables")
        return
    version = _output(program, "--version").partition(" (")[0]
    if not for_fullnat:
        yield ok("nft", version)
        return
    if "NET_ADMIN" not in effective():
        yield warning("nft", f"{version}; what the kernel knows of it takes CAP_NET_ADMIN to see")
        return
    refused = {name: why for name, why in _refused().items() if why}
    for name, why in refused.items():
        needed = needs.cookies if name != "source NAT" else bool(needs.fullnat)
        tell = problem if needed and name != "reset tcp option" else warning
        yield tell(
            "nft", f"no {name} ({FEATURES[name][3]}): {why}",
            "(use nft 1.0.2 or newer, and a kernel with NFT_SYNPROXY, 5.18 or newer)",
        )  # fmt: skip
    if not refused:
        yield ok("nft", f"{version}: {', '.join(FEATURES)}")


def sysctls(needs: Needs, root: Path = ROOT) -> Iterator[Finding]:
    """Yield which sysctls are not as the configuration needs them."""
    kept = required_for_fullnat(needs.fullnat) if needs.manages_sysctls else ()
    wanted = list(required_for_fullnat(needs.fullnat))
    for family in sorted(needs.forwards - needs.fullnat, key=lambda one: one.value):
        name = "net/ipv4/ip_forward" if family is Family.INET else "net/ipv6/conf/all/forwarding"
        wanted.append(Requirement(name, 1, "replies of the real servers are not forwarded"))
    found = ensure(wanted, set_allowed=False, root=root)
    if needs.fullnat:
        loose = [one for one in recommended_for_fullnat() if not one.at_least]
        found += ensure(loose, set_allowed=False, root=root)
    bad = [one for one in found if not one.ok]
    for one in bad:
        yield _sysctl(one, needed=one.requirement in wanted, kept=one.requirement in kept)
    if found and not bad:
        yield ok("sysctls", ", ".join(f"{one.requirement.dotted}={one.found}" for one in found))


def _sysctl(one: Sysctl, *, needed: bool, kept: bool) -> Finding:
    """Return what is to be told; *kept* is one that the daemon sets by itself."""
    name, value = one.requirement.dotted, one.requirement.wanted
    if one.state is State.MISSING:
        command = "modprobe ip_vs" if "/vs/" in one.requirement.name else "modprobe nf_conntrack"
        return warning("sysctls", f"{name} is not here yet", command)
    text = f"{name} is {one.found}, not {value}: {one.requirement.consequence}"
    if kept:
        return warning("sysctls", f"{text}; the daemon sets it", f"sysctl -w {name}={value}")
    return (problem if needed else warning)("sysctls", text, f"sysctl -w {name}={value}")


def capabilities(needs: Needs) -> Iterator[Finding]:
    """Yield whether whoever asks may do what the daemon does."""
    here = effective()
    needed = {"NET_ADMIN": "change IPVS, nftables and addresses", "NET_RAW": "speak VRRP and ping"}
    if needs.real_time:
        needed["SYS_NICE"] = "run the router under SCHED_RR"
    if needs.locks_memory:
        needed["IPC_LOCK"] = "lock its memory"
    missing = [name for name in needed if name not in here]
    if missing:
        names = " and ".join(f"CAP_{name} ({needed[name]})" for name in missing)
        yield problem(
            "capabilities", f"without {names}, as this user",
            "sudo lvskeeper doctor",
        )  # fmt: skip
    else:
        who = "root" if os.geteuid() == 0 else "this user"
        yield ok("capabilities", f"{who} has {', '.join(f'CAP_{name}' for name in needed)}")


def conntrack(needs: Needs, root: Path = ROOT) -> Iterator[Finding]:
    """Yield whether connection tracking has room."""
    if (needs.given or needs.native) and not needs.fullnat:
        return
    limit = read_number("net/netfilter/nf_conntrack_max", root)
    count = read_number("net/netfilter/nf_conntrack_count", root)
    if limit is None or count is None:
        if needs.fullnat:
            yield warning("conntrack", "nf_conntrack is not loaded", "modprobe nf_conntrack")
        return
    text = f"{count} of {limit} connections"
    if limit and count >= limit * NEARLY_FULL:
        yield problem("conntrack", text, f"sysctl -w net.netfilter.nf_conntrack_max={limit * 2}")
    elif limit < needs.connections:
        yield warning(
            "conntrack", f"{text}; the pools can carry {needs.connections}",
            f"sysctl -w net.netfilter.nf_conntrack_max={needs.connections}",
        )  # fmt: skip
    else:
        yield ok("conntrack", text)


def helpers(needs: Needs) -> Iterator[Finding]:
    """Yield helper programs that are needed and not here."""
    path = f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"
    if needs.conntrackd:
        if shutil.which("conntrackd", path=path) is None:
            text = "conntrackd is not here: a fail-over cuts connections"
            yield problem("state sync", text, "apt-get install conntrackd")
        else:
            yield ok("state sync", "conntrackd is here")


def clock(sources: Path = CLOCK) -> Iterator[Finding]:
    """Yield whether the clock is synchronized, and quick to read."""
    try:
        source = (sources / "current_clocksource").read_text(encoding="ascii").strip()
    except OSError:
        source = "unknown"
    if source in SLOW_CLOCKS:
        yield warning(
            "clock", f"clock source {source} is slow to read: timers of VRRP cost more",
            f"echo tsc > {sources / 'current_clocksource'}",
        )  # fmt: skip
    elif _unsynchronized():
        yield warning(
            "clock", f"source {source}, not synchronized: logs of two directors cannot be compared",
            "apt-get install systemd-timesyncd && timedatectl set-ntp true",
        )  # fmt: skip
    else:
        yield ok("clock", f"source {source}, synchronized")


def _unsynchronized() -> bool:
    """Return what adjtimex(2) says; where it says nothing, that all is well."""
    # struct timex: modes, then offset, freq, maxerror, esterror as longs, then status
    size = ctypes.sizeof(ctypes.c_long)
    space = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None).adjtimex(space) < 0:
        return False
    status = ctypes.c_int.from_buffer(space, 5 * size).value
    return bool(status & _STA_UNSYNC)


def _refused() -> dict[str, str]:
    """Return for each feature why it is refused; an empty text where it is not."""
    nft = Nft(None)

    async def ask(kind: str, hook: str, rule: str) -> str:
        table = (
            "table inet lvskeeper_doctor {\n chain c {\n"
            f"  type {kind} hook {hook} priority 0;\n  {rule}\n }}\n}}\n"
        )
        try:
            await nft.check(table)
        except OperatorError as error:
            return error.message.splitlines()[0]
        return ""

    async def ask_all() -> dict[str, str]:
        return {name: await ask(*chain) for name, (*chain, _) in FEATURES.items()}

    try:
        return asyncio.run(ask_all())
    finally:
        nft.close()


def _loaded(module: str) -> bool:
    if module == "ip_vs" and Path("/proc/net/ip_vs").exists():
        return True
    return Path("/sys/module", module).exists()


def _loadable(module: str) -> bool:
    program = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")
    if program is None:
        return False
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [program, "--dry-run", "--quiet", module],
        check=False, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.returncode == 0


def _output(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        command, check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout.strip()


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
