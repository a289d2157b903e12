"""Virtual devices of VRRP instances (``use_vmac``, ``use_ipvlan``), and the sysctls around them.

A macvlan with the virtual MAC stands on the interface of its instance. It must answer ARP for its
own addresses alone and hear other instances of this host, and the interface below must not answer
for it. The sysctls are those that keepalived sets, and ``arp_announce`` besides: the host answers
by way of the interface below, where its own ARP requests would tell that MAC for the virtual
address. They are put back with the last device.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

from lvskeeper.kernel.held_sysctls import HeldSysctls
from lvskeeper.kernel.rtnetlink import Refusal, RouteClient
from lvskeeper.kernel.rtnetlink_changes import AddIpvlan, AddMacvlan, SetLink
from lvskeeper.kernel.rtnetlink_codec import Link
from lvskeeper.kernel.sysctls import ROOT, Finding, Requirement, State

Device: TypeAlias = AddMacvlan | AddIpvlan
"""A device by what makes it."""

_ALL: Final = "net/ipv4/conf/all/rp_filter"
_SHARED: Final = "*"
"""Holder of what all devices need together; no interface has that name."""
_SILENT_LOSS: Final = "adverts that arrive on it may be dropped"
_WRONG_MAC: Final = "neighbours may learn another MAC for its addresses"
_LOST_TOO: Final = "with the first address of a network the others of that network are lost"
_SPOOFED: Final = "packets with forged sources are let in there"
_NOT_SILENT: Final = "it may send with the virtual MAC while it is backup"


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some devices."""

    made: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    """Found as wanted, with what stands on them."""
    refusals: tuple[Refusal, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Sysctls of theirs that are not as they should be, and any that was changed for others."""


@final
class Vmacs:
    """Makes and deletes the devices, with one *client* and in its network namespace."""

    def __init__(self, client: RouteClient, root: Path = ROOT) -> None:
        self._client: Final = client
        self._root: Final = root
        self._sysctls: Final = HeldSysctls(root)
        self._names: Final[dict[str, None]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The devices that :meth:`ensure` made or adopted and :meth:`remove` has not deleted."""
        return tuple(self._names)

    def ensure(self, wanted: Sequence[Device]) -> Outcome:
        """Make each device, or adopt the one that is there, and switch it on.

        A device of the same name and kind that differs in MAC or interface is made anew; one of
        another kind is a refusal. Costs about a millisecond a device.
        """
        links = {link.name: link for link in self._client.links()}
        adopted = [device for device in wanted if _is_like(links.get(device.name), device, links)]
        absent = [device for device in wanted if device not in adopted]
        stale = [
            device.name
            for device in absent
            if device.name in links and links[device.name].kind == _kind(device)
        ]
        refusals = self._client.delete_links(stale) + self._client.apply(absent)
        refused = {refusal.change for refusal in refusals}
        made = [device for device in absent if device not in refused]
        findings: list[Finding] = []
        for device in (*adopted, *made):
            findings += self._prepare(device)
        up = self._client.apply(
            [SetLink(each.name, up=True, mtu=_mtu(each, links)) for each in (*adopted, *made)]
        )
        return Outcome(
            tuple(device.name for device in made),
            tuple(device.name for device in adopted),
            refusals + up,
            tuple(findings),
        )

    def remove(self, names: Iterable[str]) -> Outcome:
        """Delete those of *names* that are ours; put back the sysctls that the last one needed."""
        ours = [name for name in names if name in self._names]
        refusals = self._client.delete_links(ours)
        findings: list[Finding] = []
        for name in ours:
            del self._names[name]
            findings += self._sysctls.release(name)
        if ours and not self._names:
            findings += self._sysctls.release(_SHARED)
        return Outcome(refusals=refusals, findings=tuple(findings))

    def promote_secondaries(self, holder: str, devices: Iterable[str]) -> tuple[Finding, ...]:
        """Let the other addresses of a network stay when its first is deleted, for *holder*.

        Returns what was changed or failed. Only IPv4 knows of first and second addresses.
        """
        findings = self._sysctls.hold(f"{_SHARED}{holder}", map(_promotion, devices))
        return tuple(each for each in findings if each.state is not State.OK)

    def demote_secondaries(self, holder: str) -> tuple[Finding, ...]:
        """Take back what :meth:`promote_secondaries` did for *holder*."""
        return tuple(self._sysctls.release(f"{_SHARED}{holder}"))

    def _prepare(self, device: Device) -> list[Finding]:
        shared: list[Finding] = []
        if not self._names:
            shared += self._sysctls.hold(_SHARED, self._reverse_path())
        self._names[device.name] = None
        if isinstance(device, AddMacvlan):
            shared += self._sysctls.hold(device.name, _below(device.lower))
        own = self._sysctls.hold(device.name, self._own(device.name))
        return [
            *(each for each in shared if each.state is not State.OK),
            *(each for each in own if not each.ok),
        ]

    def _reverse_path(self) -> list[Requirement]:
        """Return what gives up ``all.rp_filter`` and leaves the other interfaces as they were.

        The greater of it and an interface's own counts, so that no device could be without.
        """
        try:
            value = int((self._root / _ALL).read_text(encoding="ascii"))
        except (OSError, ValueError):
            value = 0
        paths = sorted((self._root / "net/ipv4/conf").glob("*/rp_filter")) if value else ()
        return [
            Requirement(f"net/ipv4/conf/{name}/rp_filter", value, _SPOOFED, at_least=True)
            for name in (path.parent.name for path in paths)
            if name != "all"
        ] + [Requirement(_ALL, 0, _SILENT_LOSS)]

    def _own(self, name: str) -> list[Requirement]:
        four, six = f"net/ipv4/conf/{name}", f"net/ipv6/conf/{name}"
        needed = [
            Requirement(f"{four}/arp_ignore", 1, _WRONG_MAC),
            Requirement(f"{four}/accept_local", 1, _SILENT_LOSS),
            Requirement(f"{four}/rp_filter", 0, _SILENT_LOSS),
            _promotion(name),
        ]
        if (self._root / "net/ipv6").is_dir():
            needed += [
                # 1 is none: RFC 5798 (7.4) wants no address made from the virtual MAC
                Requirement(f"{six}/addr_gen_mode", 1, _NOT_SILENT),
                Requirement(f"{six}/autoconf", 0, _NOT_SILENT),
                Requirement(f"{six}/accept_ra", 0, _NOT_SILENT),
            ]
        return needed


def _below(lower: str) -> list[Requirement]:
    return [
        Requirement(f"net/ipv4/conf/{lower}/arp_ignore", 1, _WRONG_MAC),
        Requirement(f"net/ipv4/conf/{lower}/arp_filter", 1, _WRONG_MAC),
        Requirement(f"net/ipv4/conf/{lower}/arp_announce", 2, _WRONG_MAC),
    ]


def _promotion(name: str) -> Requirement:
    return Requirement(f"net/ipv4/conf/{name}/promote_secondaries", 1, _LOST_TOO)


def _kind(device: Device) -> str:
    return "macvlan" if isinstance(device, AddMacvlan) else "ipvlan"


def _mtu(device: Device, links: dict[str, Link]) -> int:
    """Return the MTU of the interface below; 0 where the kernel lets the device follow it.

    A macvlan gets smaller with it, and stays so.
    """
    lower = links.get(device.lower)
    return lower.mtu if lower and isinstance(device, AddMacvlan) else 0


def _is_like(link: Link | None, device: Device, links: dict[str, Link]) -> bool:
    lower = links.get(device.lower)
    if link is None or lower is None or link.lower != lower.index or link.kind != _kind(device):
        return False
    return isinstance(device, AddIpvlan) or link.mac == device.mac
