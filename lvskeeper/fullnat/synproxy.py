"""SYN cookies in front of IPVS on a stock kernel: nft's ``synproxy`` in our table.

A client's SYN is kept from conntrack and answered with a cookie on the input hook; only after the
client's ACK the kernel sends a SYN of its own, which IPVS schedules like that of a local client.
Conntrack then translates sequence numbers and timestamps for as long as a connection lives, so
the hooks of ``synproxy`` must not leave the kernel while any may be alive.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from lvskeeper.fullnat.parts import (
    CONTAINERS,
    MEMBER,
    Chain,
    Container,
    Rule,
    Slot,
    every_port,
    family_digit,
)
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey

MSS: Final = {Family.INET: 1460, Family.INET6: 1440}
"""Segment size in bytes that is promised to clients: an Ethernet's, where nothing else is known."""

WSCALE: Final = 7
"""Window scale where nothing else is known: that of a Linux server with 6 MiB of ``tcp_rmem``.

It is promised before the real server is known, and should be the server's own: a lower one makes
windows smaller than they are, with a higher one clients overrun the server's."""

MSS_LIMITS: Final = (536, 65535)
WSCALE_LIMIT: Final = 14
"""RFC 7323, section 2.3."""

HOOKS: Final = tuple(
    name
    for name in CONTAINERS
    if name[:-1] in {"syn_port", "syn_any", "cookie_port", "cookie_any", "direct"}
)
"""The maps and sets that stay for as long as the hooks do."""

STRIP_CHAIN: Final = "cookie_out"

_FLAGS: Final = "tcp flags & (fin | syn | rst | ack)"
_STATES: Final = "ct state invalid,untracked,new"


@final
@dataclass(frozen=True, slots=True, order=True)
class SynProxy:
    """What SYN cookies promise to the clients of a service, all of it known.

    Raises ``ValueError`` where a number is beyond what TCP can say.
    """

    mss: int
    wscale: int = WSCALE
    timestamp: bool = True
    sack: bool = True

    def __post_init__(self) -> None:
        if not MSS_LIMITS[0] <= self.mss <= MSS_LIMITS[1]:
            raise ValueError(f"mss {self.mss} is not within {MSS_LIMITS[0]} to {MSS_LIMITS[1]}")
        if not 0 <= self.wscale <= WSCALE_LIMIT:
            raise ValueError(f"wscale {self.wscale} is not within 0 to {WSCALE_LIMIT}")

    def chain(self, family: Family) -> Chain:
        """Return the chain that answers for services of *family*."""
        flags = [word for word in ("timestamp", "sack-perm") if self._has(word)]
        name = "-".join((f"syn{family_digit(family)}.{self.mss}-{self.wscale}", *flags))
        text = " ".join(("synproxy", f"mss {self.mss} wscale {self.wscale}", *flags))
        reference = " ".join(("synproxy", str(self.mss), str(self.wscale), *sorted(flags)))
        return Chain(name, (Rule(text, (reference,)),))

    def _has(self, flag: str) -> bool:
        return self.timestamp if flag == "timestamp" else self.sack


@final
@dataclass(frozen=True, slots=True)
class Cookies:
    """Which services are behind SYN cookies.

    Raises ``ValueError`` where one is not TCP, or is known by a mark: packets are marked after
    they were to be kept from conntrack. The configuration refuses these.
    """

    proxied: Mapping[ServiceKey, SynProxy] = field(default_factory=dict)
    direct: frozenset[ServiceKey] = frozenset()
    """Services with a port, not proxied, on an address whose port-0 service is."""
    serverless: frozenset[ServiceKey] = frozenset()
    """Proxied ones that have no server now: IPVS refuses their clients at once, while cookies
    would let them connect and wait."""
    hooked: bool = False
    """The hooks are there, also without services."""
    strip: bool = True
    """Take the timestamp from the ACK by which the kernel ends its handshake with a real server.

    The kernel writes a wrong echo into it. Servers of Linux 6.15 and newer drop such an ACK, and
    a protocol in which they speak first begins a second late."""

    def __post_init__(self) -> None:
        for key in self.proxied:
            if key.fwmark or key.protocol is not Protocol.TCP:
                raise ValueError(f"{key} cannot be behind SYN cookies")

    @property
    def used(self) -> bool:
        """Whether the hooks are to be in the kernel."""
        return self.hooked or bool(self.proxied)

    @property
    def serving(self) -> frozenset[ServiceKey]:
        """The services whose clients get cookies now."""
        return frozenset(self.proxied.keys() - self.serverless)

    def containers(self) -> tuple[Container, ...]:
        """Return the maps and sets."""
        return tuple(CONTAINERS[name] for name in HOOKS) if self.used else ()

    def chains(self) -> tuple[Chain, ...]:
        """Return the chains of the options in use, and those that see the packets."""
        if not self.used:
            return ()
        options = sorted({(key.family, options) for key, options in self.proxied.items()})
        answering = tuple(one.chain(family) for family, one in options)
        return (_KEEP, *answering, *(_BASE_CHAINS if self.strip else _BASE_CHAINS[:-1]))

    def elements(self) -> dict[Slot, str]:
        """Return the elements of the maps and sets, with their targets."""
        return dict(self.elements_of(self.proxied.keys() | self.direct))

    def elements_of(self, keys: Iterable[ServiceKey]) -> Iterator[tuple[Slot, str]]:
        """Return the elements that are there for *keys*."""
        names: dict[tuple[Family, SynProxy], str] = {}
        for key in keys:
            digit, kind = family_digit(key.family), "port" if key.port else "any"
            options = self.proxied.get(key)
            if options is not None and key not in self.serverless:
                answer = (key.family, options)
                if answer not in names:
                    names[answer] = options.chain(key.family).name
                yield Slot(f"syn_{kind}{digit}", key), names[answer]
                yield Slot(f"cookie_{kind}{digit}", key), MEMBER
            elif key.port and every_port(key) in self.proxied:
                yield Slot(f"direct{digit}", key), MEMBER


_KEEP: Final = Chain("cookie_keep", SynProxy(MSS[Family.INET]).chain(Family.INET).rules)
"""Seen by no packet: any `synproxy` statement keeps the kernel's hooks, of both families."""


def exempt(
    proxied: Mapping[ServiceKey, SynProxy], others: Iterable[ServiceKey]
) -> frozenset[ServiceKey]:
    """Return those of *others*, which are not proxied, that a proxied port-0 service would catch.

    IPVS prefers a service with a port, so that its clients are to reach it without a cookie.
    """
    return frozenset(key for key in others if key.port and every_port(key) in proxied)


def _served(family: str, digit: str, flags: str, act: str, reference: str) -> tuple[Rule, Rule]:
    port, every = f"@cookie_port{digit}", f"@cookie_any{digit}"
    except_for = f"{family} daddr . tcp dport != @direct{digit}"
    return (
        Rule(f"{_FLAGS} == {flags} {family} daddr . tcp dport {port} {act}", (port, reference)),
        Rule(
            f"{_FLAGS} == {flags} {family} daddr {every} {except_for} {act}",
            (every, f"@direct{digit}", reference),
        ),
    )


def _answered(family: str, digit: str) -> tuple[Rule, Rule]:
    port, every = f"@syn_port{digit}", f"@syn_any{digit}"
    except_for = f"{family} daddr . tcp dport != @direct{digit}"
    return (
        Rule(f"{_STATES} {family} daddr . tcp dport vmap {port}", (port,)),
        Rule(f"{_STATES} {except_for} {family} daddr vmap {every}", (f"@direct{digit}", every)),
    )


# `new` among the states makes it work whatever nf_conntrack_tcp_loose is. The timestamp goes from
# pure ACKs only: those that the proxy sends to a VIP, before IPVS has put a server in its place.
_BASE_CHAINS: Final = (
    Chain(
        "cookie_raw",
        (
            *_served("ip", "4", "syn", "notrack", "notrack"),
            *_served("ip6", "6", "syn", "notrack", "notrack"),
        ),
        "filter prerouting -300",
    ),
    Chain("cookie_in", (*_answered("ip", "4"), *_answered("ip6", "6")), "filter input 0"),
    Chain(
        STRIP_CHAIN,
        (
            *_served("ip", "4", "ack", "reset tcp option timestamp", "reset"),
            *_served("ip6", "6", "ack", "reset tcp option timestamp", "reset"),
        ),
        "filter output -150",
    ),
)
