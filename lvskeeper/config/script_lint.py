"""What can be wrong with scripts, and with what the machine that reads the file has of it."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

from lvskeeper.config.build import Built
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.source import Span
from lvskeeper.config.teller import Script
from lvskeeper.config.tree import Directive

CARRIED: Final = 0.01
"""The part of a link that adverts may take."""
ADVERT_BITS: Final = 8 * 84
"""What an advert with one VIP is on the wire, with preamble and gap (the least of Ethernet)."""

_NAMED: Final = {
    "vrrp_instance": ("interface",),
    "state_sync": ("interface",),
    "global_defs": ("default_interface", "lvs_sync_daemon"),
    "virtual_server": ("vip_bind_dev",),
    "garp_group": ("interface",),
}
"""Keywords whose first word is an interface, by block of the top level."""
_LISTED: Final = {
    ("vrrp_instance", "track_interface"), ("vrrp_sync_group", "track_interface"),
    ("garp_group", "interfaces"),
}  # fmt: skip
"""Blocks whose entries begin with an interface."""


class Host(Protocol):
    """The machine that a file is for; the configuration room itself looks at none."""

    def interfaces(self) -> Collection[str]:
        """Return the names of its network interfaces."""
        ...

    def megabits(self, interface: str) -> int:
        """Return the speed of a link in Mbit/s, 0 where it tells none."""
        ...

    def problem(self, argv: Sequence[str]) -> str:
        """Return why a command cannot be run, or should not; nothing where it can."""
        ...


def lint_scripts(built: Built, host: Host | None) -> Iterator[Diagnostic]:
    """Judge the commands of a file, and with *host* whether they are there."""
    if not built.scripts:
        return
    given = built.config.vrrp is not None and built.config.vrrp.globals.enable_script_security
    if not given:
        yield from _as_root(built)
    told: set[str] = set()
    for script in built.scripts if host is not None else ():
        argv = script.command["argv"]
        assert isinstance(argv, tuple)
        assert host is not None
        if argv[0] not in told and (why := host.problem(argv)):
            yield warning(Code.SCRIPT, script.at.span(1), why, "it would not be run, or not safely")
        told.add(argv[0])


def _as_root(built: Built) -> Iterator[Diagnostic]:
    """Find the first script that root would run."""
    common = built.config.global_defs.script_user
    for script in built.scripts:
        user = script.command.get("user") or _user_of(script) or common.user or "root"
        if user == "root":
            message = "it runs as root, and nobody looks whether others could have written it"
            hint = "add to global_defs: enable_script_security, or a script_user"
            yield warning(Code.SCRIPT_SECURITY, script.at.span(1), message, hint)
            return


def _user_of(script: Script) -> str:
    user = script.block.get("user")
    return str(user.get("user", "")) if isinstance(user, dict) else ""


def lint_host(built: Built, directives: Sequence[Directive], host: Host) -> Iterator[Diagnostic]:
    """Judge what the file says against the machine: its interfaces, and the speed of its links."""
    known = frozenset(host.interfaces())
    vrrp = built.config.vrrp
    dynamic = vrrp is not None and vrrp.globals.dynamic_interfaces
    made = _made(built)
    told: set[str] = set()
    for name, at in _interfaces(directives):
        if name in known or name in made or name in told:
            continue
        told.add(name)
        report = warning if dynamic else error
        hint = f"interfaces here: {', '.join(sorted(known)[:8])}"
        if not dynamic:
            hint += "; dynamic_interfaces lets them come later, --elsewhere does not look"
        yield report(Code.NO_DEVICE, at, f"there is no interface '{name}' on this machine", hint)
    if vrrp is not None:
        yield from _links(built, host)


def _made(built: Built) -> frozenset[str]:
    """Return the names of devices that the router makes itself."""
    vrrp = built.config.vrrp
    if vrrp is None:
        return frozenset()
    made = (device for one in vrrp.instances for device in (one.use_vmac, one.use_ipvlan))
    prefix = vrrp.globals.vmac_prefix or "vrrp"
    own = {f"{prefix}.{one.virtual_router_id}" for one in vrrp.instances}
    return frozenset(device.name for device in made if device and device.name) | own


def _interfaces(directives: Sequence[Directive]) -> Iterator[tuple[str, Span]]:
    for block in directives:
        named = _NAMED.get(block.words[0], ())
        if block.words[0] == "local_address_group":
            for entry in block.children or ():
                if len(entry.words) > 1:
                    yield entry.words[1], entry.span(1)
            continue
        if not named and block.words[0] != "vrrp_sync_group":
            continue
        for line in block.children or ():
            if line.words[0] in named and len(line.words) > 1:
                yield line.words[1], line.span(1)
            elif (block.words[0], line.words[0]) in _LISTED:
                for entry in line.children or ():
                    names = entry.words if line.words[0] == "interfaces" else entry.words[:1]
                    yield from ((name, entry.span(at)) for at, name in enumerate(names))


def _links(built: Built, host: Host) -> Iterator[Diagnostic]:
    """Find links that adverts alone would fill."""
    vrrp, origin = built.config.vrrp, built.origin.vrrp
    assert vrrp is not None
    assert origin is not None
    rates: dict[str, float] = {}
    for one, at in zip(vrrp.instances, origin.of("instances"), strict=True):
        rate = rates[one.interface] = rates.get(one.interface, 0.0) + 1 / one.advert_int
        megabits = host.megabits(one.interface) if one.interface else 0
        if megabits and rate * ADVERT_BITS > CARRIED * megabits * 1e6:
            message = f"{rate:.0f} adverts a second take more than {CARRIED:.0%} of the link"
            hint = f"{one.interface} has {megabits} Mbit/s; a longer advert_int needs less of it"
            yield warning(Code.MANY_ADVERTS, at.span(1), message, hint)
            rates[one.interface] = float("-inf")
