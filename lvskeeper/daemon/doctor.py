"""Doctor's whole visit: what a configuration asks for, and what daemons have left."""

import fcntl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from lvskeeper.daemon.accept_guard import blocked_by
from lvskeeper.daemon.capacity import wanted_entries
from lvskeeper.daemon.cleanup import left_behind
from lvskeeper.daemon.desired import uses_fullnat
from lvskeeper.daemon.roles import DirectorSpec, TcpDefence, VirtualServerSpec
from lvskeeper.daemon.router_spec import RouterSpec
from lvskeeper.daemon.ruleset import returns_through_us
from lvskeeper.daemon.sysctl_keeper import servers_behind
from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.types import Family, Forward
from lvskeeper.kernel.nft import Generation
from lvskeeper.observe import doctor_kernel, doctor_net
from lvskeeper.observe.doctor import Finding, Needs, Place, Router, ok, problem, warning

OUR_TABLES: Final = ("lvskeeper", "lvskeeper_guard", "lvskeeper_vrrp")
OTHERS: Final = frozenset({"keepalived", "ldirectord", "vrrpd", "ucarp"})
"""Programs that do the same, by the kernel's names of their processes."""


def needs_of(director: DirectorSpec, router: RouterSpec | None) -> Needs:
    """Return what the compiled configuration asks of the machine."""
    virtuals = director.virtual_servers
    translated = [one for one in virtuals if _translated(one)]
    instances = router.instances if router else ()
    schedules = router.scheduling if router else None
    return Needs(
        given=True,
        ipvs=bool(virtuals or director.pools or director.sync),
        schedulers=tuple(sorted({one.scheduler for one in virtuals})),
        forwards=frozenset(_families(one for one in virtuals if _forwards(one))),
        fullnat=frozenset(_families(translated)),
        cookies=any(one.syn_proxy for one in virtuals),
        firewall=router is not None and any(blocked_by(router)),
        connections=wanted_entries(director) if translated else 0,
        manages_sysctls=director.manage_sysctls,
        conntrackd=director.state_sync is not None and not director.state_sync.external,
        real_time=bool(schedules and schedules.rr_priority),
        locks_memory=bool(schedules and schedules.lock_memory),
        routers=tuple(
            Router(
                one.spec.name, one.spec.key.interface, one.spec.key.vrid, one.spec.key.family,
                frozenset(held.address for held in one.addresses),
            )
            for one in instances
        ),
        vips=tuple(
            Place(held.address, held.device) for one in instances for held in one.addresses
        ),
        lips=tuple(
            Place(one.address, one.device) for pool in director.pools for one in pool.addresses
        ),
        servers=tuple(
            dict.fromkeys(one.address for virtual in virtuals for one in virtual.servers)
        ),
        behind=servers_behind(director),
    )  # fmt: skip


def _translated(virtual: VirtualServerSpec) -> bool:
    defended = virtual.defence.tcp is not TcpDefence.NO and returns_through_us(virtual)
    return bool(virtual.syn_proxy) or uses_fullnat(virtual) or defended


def _forwards(virtual: VirtualServerSpec) -> bool:
    return any(one.forward is Forward.NAT for one in virtual.servers)


def _families(virtuals: Iterable[VirtualServerSpec]) -> set[Family]:
    return {key.family for virtual in virtuals for key in virtual.keys}


def examine(needs: Needs, run_dir: Path, *, listen: float) -> list[Finding]:
    """Look at everything; *listen* is how many seconds adverts are waited for."""
    found: list[Finding] = []
    needs = doctor_kernel.of_dialect(needs)
    for kernel in (
        doctor_kernel.modules, doctor_kernel.dialect, doctor_kernel.nft_features,
        doctor_kernel.sysctls, doctor_kernel.capabilities, doctor_kernel.conntrack,
        doctor_kernel.helpers,
    ):  # fmt: skip
        found += kernel(needs)
    try:
        network = doctor_net.look()
        for net in (
            doctor_net.interfaces, doctor_net.reverse_paths, doctor_net.arp, doctor_net.ways,
            doctor_net.managers,
        ):  # fmt: skip
            found += net(needs, network)
        found += doctor_net.heard(needs, network, listen)
    except OperatorError as error:
        found.append(problem("network", error.message, f"({error.hint})" if error.hint else ""))
    found += doctor_kernel.clock()
    found += leftovers(run_dir)
    found += others()
    return found


def leftovers(run_dir: Path) -> Iterator[Finding]:
    """Yield what dead daemons have left in the kernel, or that one runs."""
    if owner := _owner(run_dir):
        yield ok("daemon", f"lvskeeper runs (pid {owner})")
        return
    try:
        roles = left_behind(run_dir)
    except OperatorError as error:
        yield warning("leftovers", error.message, f"({error.hint})")
        return
    if roles:
        whose = " and ".join(f"the {name}'s part" for name in roles)
        yield warning(
            "leftovers", f"no daemon runs, and {whose} of a dead one is in the kernel",
            f"lvskeeper cleanup --run-dir {run_dir}",
        )  # fmt: skip
    tables = _tables()
    if tables and not roles:
        names = ", ".join(tables)
        yield warning(
            "leftovers", f"no daemon runs, and no state tells whose these tables are: {names}",
            "; ".join(f"nft delete table inet {name}" for name in tables),
        )  # fmt: skip
    if not roles and not tables:
        yield ok("leftovers", "none")


def others() -> Iterator[Finding]:
    """Yield programs of this network namespace that do the same."""
    for name in sorted(doctor_net.programs_here() & OTHERS):
        yield warning(
            "others", f"{name} runs here as well: two that write the same tables",
            f"(lvskeeper plan FILE, then: systemctl disable --now {name})",
        )  # fmt: skip


def _owner(run_dir: Path) -> str:
    """Return the process id of the daemon that has *run_dir*; nothing where there is none."""
    try:
        with (run_dir / "lvskeeper.pid").open(encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
    except OSError:
        return ""
    return ""


def _tables() -> list[str]:
    try:
        nftables = Generation()
    except OperatorError:
        return []
    try:
        return [name for name in OUR_TABLES if nftables.has_table(name)]
    except OperatorError:
        return []
    finally:
        nftables.close()
