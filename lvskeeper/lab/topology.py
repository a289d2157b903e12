"""The laboratory's network: a client, directors, and real servers that cannot reach the client.

::

    client ---- front ---- director1 (director2) ---- back ---- router ---- rs1, rs2, rs3
           192.0.2.0/24                           10.0.0.0/24        10.1.N.0/24
        2001:db8:c::/64                              fd00::/64       fd01:N::/64

VIPs stand on each director's ``lo``, LIPs on its device ``back``. Neither the router nor a real
server has a route to the client network, so an answer finds its way only if the director has put a
LIP in the place of the client's address: FULLNAT works, everything else does not.

``Plan(guests=True)`` adds two hosts: ``neighbour`` in the network of rs1, and ``direct``, a real
server with a leg in both of the director's networks, which answers clients itself (DR and TUN).

A pair that moves VIPs itself (``Plan(vips=False)``) has them in the client's network, so that the
client asks for them by ARP and neighbour discovery.
"""

import contextlib
from dataclasses import dataclass
from typing import Final, Self, final

from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace, run_ip, set_sysctls
from lvskeeper.lab.signals import signals_unwind

CLIENT4: Final = "192.0.2.10"
CLIENT6: Final = "2001:db8:c::10"
VIPS4: Final = tuple(f"198.51.100.{number}" for number in range(1, 5))
VIPS6: Final = tuple(f"2001:db8:f::{number}" for number in range(1, 5))
NEIGHBOUR: Final = ("10.1.1.50", "fd01:1::50")
"""The host beside rs1, IPv4 and IPv6."""
DIRECT: Final = ("10.0.0.50", "fd00::50")
"""The real server that answers clients itself, as the director reaches it."""
VIP_NETWORKS: Final = ("198.51.100.0/24", "2001:db8:f::/64")
FRONT: Final = "front"
"""A director's device toward the clients."""
BACK: Final = "back"
"""A director's device toward the servers; LIPs belong here."""
QUICK: Final = {"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"}
"""No duplicate address detection: addresses are usable at once."""
FORWARDING: Final = {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}


def director_front(number: int = 1) -> tuple[str, str]:
    """Return the client-side addresses of a director, IPv4 and IPv6."""
    return f"192.0.2.{number}", f"2001:db8:c::{number}"


def local_addresses(number: int = 1) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the LIPs of a director, IPv4 and IPv6: 10.0.0.10-13 and fd00::10-13 for the first."""
    numbers = range(10 * number, 10 * number + 4)
    return tuple(f"10.0.0.{n}" for n in numbers), tuple(f"fd00::{n}" for n in numbers)


def real_server(number: int) -> tuple[str, str]:
    """Return the addresses of a real server, counted from 1, IPv4 and IPv6."""
    return f"10.1.{number}.2", f"fd01:{number}::2"


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """How big a laboratory is, and what it finds prepared."""

    directors: int = 1
    servers: int = 3
    lips: bool = True
    """Put the LIPs on the directors' devices; false leaves that to what is tested."""
    vips: bool = True
    """Put the VIPs on every director, and the client's route to them; false as above."""
    forwarding: bool = True
    """Let the directors forward packets; false leaves that to what is tested."""
    guests: bool = False
    """Add the hosts ``neighbour`` and ``direct``."""


@final
class Laboratory:
    """A context manager that makes the network and takes all of it away again.

    SIGTERM and SIGHUP unwind it too. What a killed laboratory has left is removed at the start.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan: Final = plan or Plan()
        self.prefix: Final = netns.laboratory_prefix()
        self.client: Final = self._namespace("client")
        self.directors: Final = tuple(
            self._namespace(f"director{n}") for n in range(1, self.plan.directors + 1)
        )
        self.router: Final = self._namespace("router")
        self.servers: Final = tuple(
            self._namespace(f"rs{n}") for n in range(1, self.plan.servers + 1)
        )
        self.neighbour: Final = self._namespace("neighbour")
        self.direct: Final = self._namespace("direct")
        self._switch: Final = self._namespace("switch")
        self._open = contextlib.ExitStack()

    @property
    def director(self) -> Namespace:
        """The first director."""
        return self.directors[0]

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """All of them, the hidden one that holds the two bridges included."""
        guests = (self.neighbour, self.direct) if self.plan.guests else ()
        return (self.client, *self.directors, self.router, *self.servers, *guests, self._switch)

    def __enter__(self) -> Self:
        netns.remove_leftovers()
        with contextlib.ExitStack() as undo:
            undo.enter_context(signals_unwind())
            undo.callback(self._remove)
            self._make()
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def route_to_director(self, number: int) -> None:
        """Let the client's packets to the VIPs go to the director *number*, counted from 1."""
        front = director_front(number)
        self.client.ip(
            *(f"route replace {net} via {via}"
              for net, via in zip(VIP_NETWORKS, front, strict=True))
        )  # fmt: skip

    def cut(self, number: int, *, seen: bool = True) -> None:
        """Part the director *number* from both networks; *seen*: its links are down."""
        change = "down" if seen else "nomaster"
        self._switch.ip(*(f"link set {port} {change}" for port in _ports(number)))

    def mend(self, number: int) -> None:
        """Undo :meth:`cut`."""
        self._switch.ip(
            *(f"link set {port} master {bridge} up" for port, bridge in _ports(number).items())
        )

    def _namespace(self, role: str) -> Namespace:
        return Namespace(f"{self.prefix}-{role}")

    def _remove(self) -> None:
        netns.delete(space.name for space in self.namespaces)
        for space in self.namespaces:
            space.reap()

    def _make(self) -> None:
        run_ip(batch=[f"netns add {space.name}" for space in self.namespaces])
        for space in self.namespaces:
            forwards = space is self.router or (self.plan.forwarding and space in self.directors)
            set_sysctls(space.name, QUICK | FORWARDING if forwards else QUICK)
        run_ip(batch=self._links())
        self._switch.ip(*self._switch_setup())
        self.client.ip(
            "link set lo up",
            "link set eth0 up",
            f"addr add {CLIENT4}/24 dev eth0",
            f"addr add {CLIENT6}/64 dev eth0 nodad",
        )
        if self.plan.vips:
            self.route_to_director(1)
        for number, director in enumerate(self.directors, 1):
            director.ip(*self._director_setup(number))
        self.router.ip(*self._router_setup())
        for number, server in enumerate(self.servers, 1):
            server.ip(*_server_setup(number))
        if self.plan.guests:
            self.neighbour.ip(*_host_setup(NEIGHBOUR))
            self.direct.ip(*_direct_setup())

    def _links(self) -> list[str]:
        """Return the commands that lay the cables."""
        switch = self._switch.name
        ends = [(self.client.name, "eth0", "client"), (self.router.name, BACK, "router")]
        for number, director in enumerate(self.directors, 1):
            ends += [(director.name, device, port) for port, device in _ports(number).items()]
        if self.plan.guests:
            ends += [(self.neighbour.name, "eth0", "neighbour"), (self.router.name, "rs1", "rs1up")]
            ends += [(self.direct.name, device, f"direct{device}") for device in (FRONT, BACK)]
            ends += [(self.servers[0].name, "eth0", "rs1")]
        links = [
            f"link add {device} netns {name} type veth peer name {port} netns {switch}"
            for name, device, port in ends
        ]
        links += [
            f"link add eth0 netns {server.name} type veth"
            f" peer name rs{number} netns {self.router.name}"
            for number, server in enumerate(self.servers, 1)
            if number > 1 or not self.plan.guests
        ]
        return links

    def _switch_setup(self) -> list[str]:
        numbers = range(1, self.plan.directors + 1)
        ports = {
            FRONT: ["client", *(f"d{n}front" for n in numbers)],
            BACK: ["router", *(f"d{n}back" for n in numbers)],
        }
        if self.plan.guests:
            ports[FRONT].append("directfront")
            ports[BACK].append("directback")
            ports["subnet1"] = ["rs1", "rs1up", "neighbour"]
        batch = []
        for bridge, members in ports.items():
            batch += [f"link add {bridge} type bridge forward_delay 0", f"link set {bridge} up"]
            batch += [f"link set {port} master {bridge} up" for port in members]
        return batch

    def _director_setup(self, number: int) -> list[str]:
        front4, front6 = director_front(number)
        # Without a preferred lifetime no connection of the director's own takes a LIP as its source
        lips4, lips6 = local_addresses(number) if self.plan.lips else ((), ())
        vips4, vips6 = (VIPS4, VIPS6) if self.plan.vips else ((), ())
        return [
            "link set lo up",
            f"link set {FRONT} up",
            f"link set {BACK} up",
            f"addr add {front4}/24 dev {FRONT}",
            f"addr add {front6}/64 dev {FRONT} nodad",
            f"addr add 10.0.0.{number}/24 dev {BACK}",
            f"addr add fd00::{number}/64 dev {BACK} nodad",
            *(f"addr add {lip}/32 dev {BACK}" for lip in lips4),
            *(f"addr add {lip}/128 dev {BACK} nodad preferred_lft 0" for lip in lips6),
            *(f"addr add {vip}/32 dev lo" for vip in vips4),
            *(f"addr add {vip}/128 dev lo nodad" for vip in vips6),
            "route add 10.1.0.0/16 via 10.0.0.254",
            "route add fd01::/16 via fd00::fe",
        ]

    def _router_setup(self) -> list[str]:
        batch = [
            "link set lo up",
            f"link set {BACK} up",
            f"addr add 10.0.0.254/24 dev {BACK}",
            f"addr add fd00::fe/64 dev {BACK} nodad",
        ]
        for n in range(1, self.plan.servers + 1):
            batch += [
                f"link set rs{n} up",
                f"addr add 10.1.{n}.1/24 dev rs{n}",
                f"addr add fd01:{n}::1/64 dev rs{n} nodad",
            ]
        return batch


def _ports(number: int) -> dict[str, str]:
    """Return the switch's ports to the director *number*, each with its bridge and device."""
    return {f"d{number}{device}": device for device in (FRONT, BACK)}


def _server_setup(number: int) -> list[str]:
    return [
        *_host_setup(real_server(number)),
        f"route add 10.0.0.0/24 via 10.1.{number}.1",
        f"route add fd00::/64 via fd01:{number}::1",
    ]


def _host_setup(addresses: tuple[str, str]) -> list[str]:
    address4, address6 = addresses
    return [
        "link set lo up",
        "link set eth0 up",
        f"addr add {address4}/24 dev eth0",
        f"addr add {address6}/64 dev eth0 nodad",
    ]


def _direct_setup() -> list[str]:
    back4, back6 = DIRECT
    return [
        "link set lo up",
        f"link set {FRONT} up",
        f"link set {BACK} up",
        f"addr add 192.0.2.50/24 dev {FRONT}",
        f"addr add 2001:db8:c::50/64 dev {FRONT} nodad",
        f"addr add {back4}/24 dev {BACK}",
        f"addr add {back6}/64 dev {BACK} nodad",
    ]
