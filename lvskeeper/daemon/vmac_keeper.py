"""Keeps the virtual devices of instances (``use_vmac``, ``use_ipvlan``) and what they need."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, final

from lvskeeper.daemon.links import LINK_LOCAL, Links
from lvskeeper.daemon.router_spec import RouterSpec, VmacKind, VmacSpec
from lvskeeper.daemon.sysctl_log import sysctl_event
from lvskeeper.kernel.rtnetlink import Refusal, RouteClient
from lvskeeper.kernel.rtnetlink_changes import AddAddress, AddIpvlan, AddMacvlan
from lvskeeper.kernel.sysctls import Finding
from lvskeeper.kernel.vmac import Device, Vmacs
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.events import Event
from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.holdings import HeldAddress

KINDS: Final = frozenset({"macvlan", "ipvlan"})
LINK_SCOPE: Final = 253
"""``RT_SCOPE_LINK``."""


@final
class VmacKeeper:
    """Makes the devices that a configuration needs, as soon as the interface below is there."""

    def __init__(self, client: RouteClient, links: Links, tell: Callable[[Event], None]) -> None:
        self._client = client
        self._links = links
        self._tell = tell
        self._vmacs = Vmacs(client)
        self._wanted: dict[str, tuple[Device, tuple[VmacSpec, int]]] = {}
        """Devices by name, with what they are for and the family of its instance."""
        self._promoted: set[str] = set()
        """Interfaces whose other addresses stay when the first one goes."""
        self._told: set[str] = set()

    def prepare(self, spec: RouterSpec, *, left: Iterable[str] = ()) -> bool:
        """Have the devices of *spec* and no others; return whether any was made or deleted.

        *left* are those that an earlier router made.
        """
        self._wanted = {device.name: (device, needs) for device, needs in _devices(spec)}
        gone = [name for name in self._vmacs.names if name not in self._wanted]
        if gone:
            outcome = self._vmacs.remove(gone)
            self._report(outcome.refusals, outcome.findings)
        swept = self.sweep(left)
        promoted = {
            held.device
            for config in spec.instances
            if config.promote_secondaries
            for held in config.addresses
        }
        if promoted != self._promoted:
            self._vmacs.demote_secondaries("spec")
            self._promoted = promoted
            self._report((), self._vmacs.promote_secondaries("spec", sorted(promoted)))
        return self.repair() or swept or bool(gone)

    def sweep(self, left: Iterable[str]) -> bool:
        """Delete those devices of *left* that are not needed; return whether any was there."""
        stray = [name for name in left if name not in self._wanted and self._is_virtual(name)]
        self._report(self._client.delete_links(stray), ())
        return bool(stray)

    def _is_virtual(self, name: str) -> bool:
        link = self._links.link(name)
        return link is not None and link.kind in KINDS

    def repair(self) -> bool:
        """Make the devices that are missing, and put right what others did to the rest.

        Returns whether there was anything to do.
        """
        missing = [
            (device, needs)
            for device, needs in self._wanted.values()
            if self._links.link(device.lower) and not self._is_well(device, *needs)
        ]
        if not missing:
            return False
        outcome = self._vmacs.ensure([device for device, _ in missing])
        there = {*outcome.made, *outcome.adopted}
        addresses = [
            AddAddress(held)
            for device, (vmac, family) in missing
            if device.name in there
            for held in self._own_addresses(device, vmac, family)
        ]
        self._report((*outcome.refusals, *self._client.apply(addresses)), outcome.findings)
        return bool(there)

    def _is_well(self, device: Device, vmac: VmacSpec, family: int) -> bool:
        """Tell whether a device is there, on, as big as that below, and has its own addresses."""
        link, below = self._links.link(device.name), self._links.link(device.lower)
        if link is None or below is None or device.name not in self._vmacs.names:
            return False
        # A device that was renamed has taken those above it along.
        if not link.up or link.lower != below.index:
            return False
        if isinstance(device, AddMacvlan) and link.mtu < below.mtu:
            return False
        own = self._own_addresses(device, vmac, family)
        return all(self._links.stands(*held.name) for held in own)

    def _own_addresses(self, device: Device, vmac: VmacSpec, family: int) -> Iterator[HeldAddress]:
        """Yield the addresses that adverts come from: one of its own for an ipvlan and in IPv6."""
        if vmac.address != NO_ADDRESS:
            yield HeldAddress(vmac.address, vmac.prefix, device.name)
        elif family == 6 and not vmac.xmit_base:
            below = self._links.link(device.lower)
            if below is not None and len(below.mac) == 6:
                # As keepalived has it: the interface's own, which is another one on this link.
                yield HeldAddress(link_local(below.mac), 64, device.name, scope=LINK_SCOPE)

    def _report(self, refusals: Iterable[Refusal], findings: Iterable[Finding]) -> None:
        for refusal in refusals:
            if self._once(str(refusal)):
                self._tell(told.VipRefused("", str(refusal.change), refusal.reason, refusal.hint))
        for finding in findings:
            event = sysctl_event(finding)
            if event is not None and self._once(str(finding)):
                self._tell(event)

    def _once(self, what: str) -> bool:
        first = what not in self._told
        self._told.add(what)
        return first

    def close(self) -> None:
        """Delete all devices that are ours, and put sysctls back."""
        outcome = self._vmacs.remove(self._vmacs.names)
        self._report(outcome.refusals, ())
        self._vmacs.demote_secondaries("spec")


def link_local(mac: bytes) -> Address:
    """Return the link-local address that IPv6 derives from a MAC address (RFC 4291, appendix A)."""
    return Address(LINK_LOCAL + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:6])


def _devices(spec: RouterSpec) -> Iterator[tuple[Device, tuple[VmacSpec, int]]]:
    for config in spec.instances:
        family = config.spec.key.family
        if config.vmac is not None:
            yield _device(config.vmac, config.spec.key.interface), (config.vmac, family)
        for lower, vmac in config.address_vmacs:
            # It carries addresses only, and no adverts.
            yield _device(vmac, lower), (vmac, 4)


def _device(vmac: VmacSpec, lower: str) -> Device:
    if vmac.kind is VmacKind.IPVLAN:
        return AddIpvlan(vmac.name, lower, vmac.mode)
    return AddMacvlan(vmac.name, lower, vmac.mac)
