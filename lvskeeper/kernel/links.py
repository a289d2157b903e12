"""LIPs on their devices: put there, taken away, listed.

pyroute2 is imported on first use (130 ms), in a thread: most directors name no device. Each call
opens a socket of its own and closes it, as pyroute2 keeps some memory for every request made on
one. The calls know no owner: :class:`Placement` tells what was added and what was there before,
and only what was added is to be given to :func:`remove_addresses` later.
"""

import asyncio
import errno
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.types import Family
from lvskeeper.units import Address, format_address, parse_address

DEADLINE: Final = 10.0
"""Seconds for one call; an address costs about half a millisecond."""

IFA_F_NODAD: Final = 0x02
"""Usable at once, without duplicate address detection (linux/if_addr.h)."""
IFA_F_NOPREFIXROUTE: Final = 0x200

_FOREVER: Final = 0xFFFFFFFF
_INET6_EXTRA: Final[dict[str, int]] = {
    "flags": IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
    # Deprecated from the start: else the kernel takes the newest /128 as the source of the
    # director's own connections (RFC 6724), and health checks leave from a LIP.
    "preferred_lft": 0,
    "valid_lft": _FOREVER,
}

PlacedAddress: TypeAlias = tuple[Address, str]
"""An address and the name of its device."""

_HINTS: Final = {
    errno.EPERM: "run as root, or with CAP_NET_ADMIN",
    errno.EACCES: "IPv6 is switched off on it: see net.ipv6.conf.*.disable_ipv6",
    errno.ENODEV: "make the device first, or correct its name in the local address group",
}


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """An address that could not be put on its device or taken from it."""

    address: Address
    device: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"local address {format_address(self.address)} on {self.device}: {self.reason}"


@final
@dataclass(frozen=True, slots=True)
class Placement:
    """What a call did."""

    changed: tuple[PlacedAddress, ...] = ()
    """Added, or removed."""
    unchanged: tuple[PlacedAddress, ...] = ()
    """Found there already, or gone already."""
    failures: tuple[Failure, ...] = ()


async def ensure_addresses(
    wanted: Iterable[PlacedAddress],
    note: Callable[[list[PlacedAddress]], None] = lambda _: None,
) -> Placement:
    """Put each address on its device as /32 or /128, unless it is there with any prefix length.

    *note* gets those that are not, before any is put there.
    """
    return await _change("add", tuple(wanted), note)


async def remove_addresses(ours: Iterable[PlacedAddress]) -> Placement:
    """Take each address that stands as /32 or /128 from its device; what is gone is no failure."""
    return await _change("del", tuple(ours), lambda _: None)


async def present_addresses() -> dict[PlacedAddress, int]:
    """Return all addresses on devices of this namespace, with their prefix lengths."""
    pyroute2 = await _pyroute2()
    async with asyncio.timeout(DEADLINE), pyroute2.AsyncIPRoute() as route:
        return await _present(route, await _devices(route))


async def _change(
    command: str, items: tuple[PlacedAddress, ...], note: Callable[[list[PlacedAddress]], None]
) -> Placement:
    if not items:
        return Placement()
    changed: list[PlacedAddress] = []
    unchanged: list[PlacedAddress] = []
    failures: list[Failure] = []
    pyroute2 = await _pyroute2()
    try:
        async with asyncio.timeout(DEADLINE), pyroute2.AsyncIPRoute() as route:
            devices = await _devices(route)
            present = await _present(route, devices)
            if missing := [item for item in items if item not in present]:
                note(missing)
            for item in dict.fromkeys(items):
                address, device = item
                host = Family.of(address).host_prefix
                if (item in present) if command == "add" else (present.get(item) != host):
                    unchanged.append(item)
                    continue
                number = await _request(route, command, address, devices.get(device))
                match number:
                    case 0:
                        changed.append(item)
                    case errno.EEXIST | errno.EADDRNOTAVAIL:
                        unchanged.append(item)
                    case _:
                        reason = os.strerror(number)
                        failures.append(Failure(address, device, reason, _HINTS.get(number, "")))
    except TimeoutError:
        raise OperatorError(
            f"the kernel did not answer about addresses within {DEADLINE:.0f} seconds",
            status=ExitStatus.KERNEL,
        ) from None
    return Placement(tuple(changed), tuple(unchanged), tuple(failures))


async def _pyroute2() -> Any:
    return await asyncio.to_thread(importlib.import_module, "pyroute2")


async def _devices(route: Any) -> dict[str, int]:
    return {link.get_attr("IFLA_IFNAME"): link["index"] async for link in await route.link("dump")}


async def _present(route: Any, devices: dict[str, int]) -> dict[PlacedAddress, int]:
    names = {index: name for name, index in devices.items()}
    found: dict[PlacedAddress, int] = {}
    async for entry in await route.addr("dump"):
        # IFA_LOCAL is the own address where IFA_ADDRESS is that of a peer; IPv6 has the latter.
        text = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
        name = names.get(entry["index"])
        if text and name:
            found[parse_address(text), name] = entry["prefixlen"]
    return found


async def _request(route: Any, command: str, address: Address, index: int | None) -> int:
    """Return 0, or the error number of the kernel."""
    if index is None:
        return errno.ENODEV
    family = Family.of(address)
    extra = _INET6_EXTRA if family is Family.INET6 else {}
    try:
        await route.addr(
            command,
            index=index,
            address=format_address(address),
            prefixlen=family.host_prefix,
            **extra,
        )
    except Exception as error:
        # pyroute2's NetlinkError, known by its code: its class would need the import up here.
        code = getattr(error, "code", None)
        if not isinstance(code, int):
            raise
        return code
    return 0
