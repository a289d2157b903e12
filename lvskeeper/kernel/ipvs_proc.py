"""What ``/proc/net/ip_vs`` and ``ip_vs_stats`` say: readable by everybody, without netlink.

The form is that of ``ip_vs_info_seq_show`` and ``ip_vs_stats_show`` in the kernel's ip_vs_ctl.c.

Where several network namespaces have services, a table of more than one page loses some: to go on
from one page to the next the kernel counts the services of all namespaces that it has passed, but
then passes over as many of this one (``ip_vs_info_seq_next``, ``ip_vs_info_array``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.units import Address, format_address

TABLE: Final = Path("/proc/net/ip_vs")
STATS: Final = Path("/proc/net/ip_vs_stats")


@final
@dataclass(frozen=True, slots=True)
class Backend:
    """A destination of a service, with what it carries."""

    protocol: str
    """``TCP``, ``UDP``, ``SCTP``, ``FWM``."""
    address: str
    """Of the service; empty with a firewall mark."""
    port: int
    mark: str
    """The firewall mark, as the kernel writes it: hexadecimal."""
    server: str
    server_port: int
    weight: int
    active: int
    inactive: int


@final
@dataclass(frozen=True, slots=True)
class Totals:
    """What all services carried since ip_vs was loaded, or since somebody set it to zero."""

    connections: int
    incoming_packets: int
    outgoing_packets: int
    incoming_bytes: int
    outgoing_bytes: int


@final
@dataclass(frozen=True, slots=True)
class IpvsTraffic:
    """Both files."""

    backends: tuple[Backend, ...]
    totals: Totals


def read_traffic() -> IpvsTraffic | None:
    """Return what both files say; nothing where ip_vs is not loaded."""
    try:
        table = TABLE.read_text(encoding="ascii").splitlines()
        stats = STATS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return IpvsTraffic(tuple(parse_backends(table)), parse_totals(stats))


def parse_backends(lines: Iterable[str]) -> Iterable[Backend]:
    """Yield the destinations in the lines of ``ip_vs``; lines of another form are passed over."""
    service = ("", "", 0, "")
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[0] in {"TCP", "UDP", "SCTP"}:
            address, port = _endpoint(words[1])
            service = (words[0], address, port, "")
        elif len(words) >= 3 and words[0] == "FWM":
            service = (words[0], "", 0, words[1])
        elif len(words) == 6 and words[0] == "->" and words[3].lstrip("-").isdigit():
            server, port = _endpoint(words[1])
            weight, active, inactive = map(int, words[3:])
            yield Backend(*service, server, port, weight, active, inactive)


def parse_totals(lines: Iterable[str]) -> Totals:
    """Return the sums in the lines of ``ip_vs_stats``: the first line of five numbers."""
    for line in lines:
        words = line.split()
        if len(words) == 5:
            try:
                return Totals(*(int(word, 16) for word in words))
            except ValueError:
                continue  # the head has five words, too
    return Totals(0, 0, 0, 0, 0)


def _endpoint(text: str) -> tuple[str, int]:
    """Return address and port of ``C0000264:0050`` or ``[2001:...:0001]:0050``."""
    host, _, port = text.rpartition(":")
    if host.startswith("["):
        return _colons(host.strip("[]")), int(port, 16)
    return format_address(Address(bytes.fromhex(host))), int(port, 16)


def _colons(text: str) -> str:
    return format_address(Address(bytes.fromhex(text.replace(":", ""))))
