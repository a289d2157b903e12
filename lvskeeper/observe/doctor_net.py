"""Doctor's look at the network: interfaces, ways, ARP, VRRP on the wire, who manages the links."""

import contextlib
import ipaddress
import select
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import OperatorError
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.kernel.rtnetlink_codec import Link, PresentAddress
from lvskeeper.kernel.sysctls import ROOT, read_number, strict_filter
from lvskeeper.kernel.vrrp_socket import Receiver, find_interface
from lvskeeper.observe.doctor import Finding, Needs, Router, ok, problem, warning
from lvskeeper.units import Address, format_address
from lvskeeper.vrrp.validate import Received

MAX_LINKS: Final = 16
"""Interfaces that are listened at where no configuration names them."""
MAX_SERVERS: Final = 256
"""Real servers whose way is looked up."""
NETWORKD: Final = "systemd-network"
NETWORK_MANAGER: Final = "NetworkManager"
"""Names of processes; the kernel cuts them after 15 characters."""
NO_ANSWER: Final = 8
"""``arp_ignore``: no answer for any local address."""


@final
@dataclass(frozen=True, slots=True)
class Network:
    """The network namespace as it is."""

    links: Mapping[str, Link]
    addresses: tuple[PresentAddress, ...]

    def name(self, index: int) -> str:
        """Return the name of the interface *index*."""
        return next((link.name for link in self.links.values() if link.index == index), "")

    def here(self, address: Address) -> str:
        """Return where *address* stands, nothing where it does not."""
        found = (one.index for one in self.addresses if one.address == address)
        return next(map(self.name, found), "")


def look() -> Network:
    """Return the network of this process; raise :class:`OperatorError`."""
    with RouteClient() as client:
        links, addresses = client.links(), client.addresses()
    return Network({link.name: link for link in links}, addresses)


def interfaces(needs: Needs, network: Network) -> Iterator[Finding]:
    """Yield interfaces that the configuration names and that are not there, or not up."""
    bad = False
    for device in needs.devices:
        link = network.links.get(device)
        if link is None:
            bad = True
            vmac = any(router.device == device for router in needs.routers)
            yield (problem if vmac else warning)(
                "interfaces", f"{device} does not exist", "(ip link; correct the name, or make it)"
            )
        elif not link.running:
            bad = True
            yield problem("interfaces", f"{device} is down", f"ip link set {device} up")
    if needs.devices and not bad:
        yield ok("interfaces", f"{', '.join(needs.devices)} up")


def reverse_paths(needs: Needs, network: Network, root: Path = ROOT) -> Iterator[Finding]:
    """Yield interfaces of LIPs whose ``rp_filter`` drops replies that come in another way."""
    if not any(place.device for place in needs.lips):
        return
    strict = [device for device in needs.behind if strict_filter(device, root)]
    wrong = False
    with RouteClient() as client:
        for device in strict:
            servers = needs.behind[device][:MAX_SERVERS]
            ways = {network.name(client.way_out(server)) for server in servers}
            if others := ways - {"", device, "lo"}:
                wrong = True
                yield problem(
                    "rp_filter",
                    f"{device} is strict, and real servers are reached by "
                    f"{', '.join(sorted(others))}: replies to its LIPs are dropped",
                    f"sysctl -w net.ipv4.conf.{device}.rp_filter=2",
                )
    if not wrong:
        how = f"{', '.join(strict)} strict, as the ways allow" if strict else "not strict"
        yield ok("rp_filter", how)


def arp(needs: Needs, network: Network, root: Path = ROOT) -> Iterator[Finding]:
    """Yield settings of ARP that hide virtual addresses, or show them where they are not."""
    devices = [one for one in dict.fromkeys(place.device for place in needs.vips) if one]
    count = 0
    for device in devices:
        for found in _arp_of(device, network, root):
            count += 1
            yield found
    if devices and not count:
        yield ok("arp", f"{', '.join(devices)}: virtual addresses are answered for, there alone")


def _arp_of(device: str, network: Network, root: Path) -> Iterator[Finding]:
    ignore = max(
        read_number(f"net/ipv4/conf/{name}/arp_ignore", root) or 0 for name in ("all", device)
    )
    if ignore == NO_ANSWER:
        yield problem(
            "arp", f"{device} answers no ARP at all (arp_ignore 8), so nobody finds a VIP there",
            f"sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.{device}.arp_ignore=1",
        )  # fmt: skip
    shared = _same_network(device, network)
    if ignore == 0 and shared:
        yield warning(
            "arp",
            f"{device} and {', '.join(shared)} are in the same network, and each answers for the "
            "addresses of the other",
            "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        )
    if not read_number(f"net/ipv4/conf/{device}/promote_secondaries", root):
        base = read_number("net/ipv4/conf/all/promote_secondaries", root)
        if not base and device in network.links:
            yield warning(
                "arp",
                f"{device}: who removes its first address takes the others of that network along",
                f"sysctl -w net.ipv4.conf.{device}.promote_secondaries=1",
            )


def _same_network(device: str, network: Network) -> list[str]:
    def networks(name: str) -> set[ipaddress.IPv4Network]:
        link = network.links.get(name)
        return {
            ipaddress.IPv4Network((one.address, one.prefix), strict=False)
            for one in network.addresses
            if link and one.index == link.index and len(one.address) == 4 and one.prefix < 32
        }

    ours = networks(device)
    return [name for name in network.links if name not in {device, "lo"} and networks(name) & ours]


def ways(needs: Needs, network: Network) -> Iterator[Finding]:
    """Yield LIPs that lead to nobody, and real servers that no way leads to."""
    away = [place.address for place in needs.lips
            if not place.device and not network.here(place.address)]  # fmt: skip
    if away:
        more = f" and {len(away) - 1} more" if len(away) > 1 else ""
        yield warning(
            "LIPs",
            f"{format_address(away[0])}{more} on no device: the real servers need a route to it by "
            "way of this director",
            "(name the device in local_address_group, or see to that route)",
        )
    unreached = []
    with RouteClient() as client:
        for server in needs.servers[:MAX_SERVERS]:
            with contextlib.suppress(OperatorError):
                if client.way_out(server) == 0:
                    unreached.append(server)
    if unreached:
        more = f" and {len(unreached) - 1} more" if len(unreached) > 1 else ""
        first = format_address(unreached[0])
        yield problem(
            "routes", f"no route to real server {first}{more}", f"ip route add {first} via GATEWAY"
        )
    elif needs.servers:
        yield ok("routes", f"to all real servers ({min(len(needs.servers), MAX_SERVERS)})")
    if needs.lips and not away:
        yield ok("LIPs", f"{len(needs.lips)}, each on a device of this machine")


def heard(needs: Needs, network: Network, seconds: float) -> Iterator[Finding]:
    """Listen for *seconds*, and yield which virtual routers speak already."""
    if seconds <= 0:
        return
    devices = needs.devices or tuple(
        name for name, link in network.links.items() if link.running and name != "lo"
    )
    devices = tuple(one for one in devices[:MAX_LINKS] if one in network.links)
    if not devices:
        return
    try:
        adverts = _listen(devices, seconds)
    except OperatorError as error:
        yield warning("VRRP", error.message, f"({error.hint})" if error.hint else "")
        return
    for (device, family, vrid, source), received in sorted(adverts.items()):
        yield _judge(needs, network, (device, family, vrid), source, received)
    if not adverts:
        yield ok("VRRP", f"no virtual router on {', '.join(devices)} in {seconds:g} s")


def _listen(
    devices: tuple[str, ...], seconds: float
) -> dict[tuple[str, int, int, Address], Received]:
    found: dict[tuple[str, int, int, Address], Received] = {}
    with contextlib.ExitStack() as opened:
        poll = select.poll()
        receivers: dict[int, tuple[Receiver, str, int]] = {}
        for device in devices:
            for family in (4, 6):
                receiver = opened.enter_context(Receiver(find_interface(device), family))
                receivers[receiver.fileno()] = receiver, device, family
                poll.register(receiver.fileno(), select.POLLIN)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1000):
                receiver, device, family = receivers[number]
                for one in receiver.drain():
                    if isinstance(one, Received):
                        found[device, family, one.vrid, one.source] = one
    return found


def _judge(
    needs: Needs,
    network: Network,
    where: tuple[str, int, int],
    source: Address,
    received: Received,
) -> Finding:
    device, family, vrid = where
    who = f"VRID {vrid} on {device} from {format_address(source)}, priority "
    who += str(received.message.priority)
    ours = next((one for one in needs.routers if (one.device, one.family, one.vrid) == where), None)
    if network.here(source):
        return ok("VRRP", f"{who}: this machine itself")
    if ours is None:
        return ok("VRRP", f"{who}: not configured here, so it is taken")
    theirs = _addresses(received, family)
    if theirs and not theirs & ours.addresses:
        return problem(
            "VRRP",
            f"{who}: another virtual router, for {', '.join(map(format_address, sorted(theirs)))}; "
            f"{ours.name} cannot use its VRID",
            f"(give {ours.name} another virtual_router_id on all its directors)",
        )
    return _peer(ours, theirs, who)


def _peer(ours: Router, theirs: frozenset[Address], who: str) -> Finding:
    if theirs and theirs != ours.addresses:
        odd = ", ".join(map(format_address, sorted(theirs ^ ours.addresses)))
        return warning(
            "VRRP", f"{who}: a peer of {ours.name} with other addresses: {odd}",
            "(let both directors have the same virtual_ipaddress block)",
        )  # fmt: skip
    return ok("VRRP", f"{who}: a peer of {ours.name}")


def _addresses(received: Received, family: int) -> frozenset[Address]:
    size = 16 if family == 6 else 4
    message = received.message
    if message.size(size) > len(message.data):
        return frozenset()
    return frozenset(message.addresses(size))


def managers(
    needs: Needs,
    network: Network,
    running: Collection[str] | None = None,
    root: Path = Path("/"),
) -> Iterator[Finding]:
    """Yield who else manages the interfaces, and would take addresses of ours away.

    *running* are programs of this network namespace, by their processes' names.
    """
    running = programs_here() if running is None else running
    count = 0
    for device in needs.devices:
        link = network.links.get(device)
        if link is None:
            continue
        looks = {NETWORKD: _networkd, NETWORK_MANAGER: _manager}
        for found in (look(device, link.index, root) for one, look in looks.items()
                      if one in running):  # fmt: skip
            if found is not None:
                count += 1
                yield found
    foreign = _foreign_routes(root) if NETWORKD in running else None
    if foreign and needs.devices:
        count += 1
        yield foreign
    if needs.devices and not count:
        yield ok("managers", f"nobody takes addresses off {', '.join(needs.devices)}")


def programs_here(processes: Path = Path("/proc")) -> frozenset[str]:
    """Return the names of the processes of this network namespace."""
    here = (processes / "thread-self/ns/net").stat().st_ino
    names = set()
    for one in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (one / "ns/net").stat().st_ino == here:
                names.add((one / "comm").read_text(encoding="utf-8", errors="replace").strip())
    return frozenset(names)


def _networkd(device: str, index: int, root: Path) -> Finding | None:
    """Return what systemd-networkd would do, by the state that it keeps of each link."""
    state = _assignments(root / f"run/systemd/netif/links/{index}")
    file = state.get("NETWORK_FILE", "")
    if state.get("ADMIN_STATE", "unmanaged") == "unmanaged" or not file:
        return None
    name = Path(file).name
    texts = [_text(root / file.lstrip("/"))]
    for folder in ("etc/systemd/network", "run/systemd/network", "usr/lib/systemd/network"):
        texts += [_text(one) for one in sorted((root / folder / f"{name}.d").glob("*.conf"))]
    values = [value for text in texts for value in _values(text, "KeepConfiguration")]
    if values and values[-1].lower() in {"yes", "static", "true", "1"}:
        return None
    folder = f"/etc/systemd/network/{name}.d"
    return warning(
        "managers",
        f"systemd-networkd manages {device} ({name}) and takes VIPs away when it starts again",
        f"mkdir -p {folder} && printf '[Network]\\nKeepConfiguration=yes\\n' "
        f">{folder}/lvskeeper.conf && networkctl reload",
    )


def _foreign_routes(root: Path) -> Finding | None:
    """Return whether networkd removes routes and rules that are not its own."""
    texts = [_text(root / "etc/systemd/networkd.conf")]
    texts += [_text(one) for one in sorted((root / "etc/systemd/networkd.conf.d").glob("*.conf"))]
    for key in ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules"):
        values = [value for text in texts for value in _values(text, key)]
        if not values or values[-1].lower() not in {"no", "false", "0"}:
            folder = "/etc/systemd/networkd.conf.d"
            return warning(
                "managers", "systemd-networkd removes routes and rules that are not its own",
                f"mkdir -p {folder} && printf '[Network]\\nManageForeignRoutes=no\\n"
                f"ManageForeignRoutingPolicyRules=no\\n' >{folder}/lvskeeper.conf && "
                "systemctl restart systemd-networkd",
            )  # fmt: skip
    return None


def _manager(device: str, index: int, root: Path) -> Finding | None:
    """Return what NetworkManager would do, by the state that it keeps of each device."""
    state = _assignments(root / f"run/NetworkManager/devices/{index}")
    if state.get("managed", "false") != "true":
        return None
    return warning(
        "managers",
        f"NetworkManager manages {device} and may take VIPs away when it is activated again",
        f"nmcli device set {device} managed no",
    )


def _assignments(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in _text(path).splitlines())
    return {key.strip(): value.strip() for key, mark, value in lines if mark}


def _values(text: str, key: str) -> list[str]:
    return [value for name, value in (
        (name.strip(), value.strip()) for name, _, value in (
            line.partition("=") for line in text.splitlines()
        )
    ) if name == key]  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
