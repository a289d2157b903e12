"""For whom an override is: what is asked, its numbers and its names, against what is configured."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.questions import AskError, Override
from lvskeeper.daemon.roles import RealServerSpec, VirtualServerSpec
from lvskeeper.daemon.virtuals import Virtual
from lvskeeper.ipvs.overrides import Subject
from lvskeeper.units import Address, parse_address

MAX_WEIGHT: Final = 2**31 - 1
MAX_SECONDS: Final = 366 * 86_400.0
MAX_REASON: Final = 200


def check(asked: Override) -> None:
    """Raise :class:`AskError` for numbers that make no sense."""
    for seconds in (asked.for_seconds, asked.deadline_seconds):
        if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
            raise AskError("bad_request", f"{seconds:g} seconds are not between 0 and a year")
    if not 0 <= asked.weight <= MAX_WEIGHT:
        raise AskError("bad_request", f"weight {asked.weight} is not between 0 and {MAX_WEIGHT}")
    if len(asked.reason) > MAX_REASON:
        raise AskError("bad_request", f"the reason has more than {MAX_REASON} characters")
    if asked.action in ("disable", "enable") and not asked.virtual_servers:
        raise AskError("bad_request", f"{asked.action} needs the name of a virtual server")


def select(asked: Override, virtuals: Iterable[Virtual], *, whole: bool) -> list[Subject]:
    """Return the subjects that *asked* names; raise :class:`AskError` where there are none."""
    named = [virtual for virtual in virtuals if is_named(virtual.spec.name, asked.virtual_servers)]
    if unknown := unnamed(asked.virtual_servers, [virtual.spec.name for virtual in named]):
        raise AskError("not_found", f"there is no virtual server {unknown}")
    if whole:
        return [Subject(virtual.spec.name) for virtual in named]
    address, port = parse_server(asked.server)
    found = [
        Subject(virtual.spec.name, server_key(server))
        for virtual in named
        for server in virtual.spec.real_servers
        if server.address == address and (port is None or port in _ports(virtual.spec, server))
    ]
    if not found:
        where = ", ".join(asked.virtual_servers) or "any virtual server"
        raise AskError("not_found", f"{asked.server} is not a real server of {where}")
    return found


def is_named(name: str, wanted: Collection[str]) -> bool:
    """Return whether *wanted* has the virtual server *name*, its protocol aside; none has all."""
    return not wanted or name in wanted or name.partition(" ")[2] in wanted


def unnamed(wanted: Iterable[str], names: Collection[str]) -> str:
    """Return the first of *wanted* that means none of *names*; empty where each means one."""
    known = {known for name in names for known in (name, name.partition(" ")[2])}
    return next((name for name in wanted if name not in known), "")


def parse_server(text: str) -> tuple[Address, int | None]:
    """Return address and port of ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``.

    Raises :class:`AskError`.
    """
    host, colon, port = text, "", ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = (bracket and rest[:1]), rest[1:]
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
    wrong = AskError("bad_request", f"'{text}' is not ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT")
    # A colon without a port is a slip, of a script perhaps: it must not mean all ports.
    if colon not in ("", ":") or bool(colon) is not (port.isascii() and port.isdecimal()):
        raise wrong
    try:
        return parse_address(host), int(port) if port else None
    except ValueError:
        raise wrong from None


def _ports(virtual: VirtualServerSpec, server: RealServerSpec) -> Iterator[int]:
    yield server.port
    if not server.port:
        yield from (key.port for key in virtual.keys)
