"""Lints of checks, as far as they need more than the block of the check."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from lvskeeper.config.check_model import (
    AnyCheck,
    Connected,
    FileCheck,
    HttpGet,
    MiscCheck,
    PingCheck,
    SmtpCheck,
    SslGet,
)
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.model import RealServer, VirtualServer
from lvskeeper.config.site import FAMILIES, Site, place
from lvskeeper.config.source import Span
from lvskeeper.config.tree import Directive

DELAY_LOOP: Final = 60.0
CONNECT_TIMEOUT: Final = 5.0


def check_rules(site: Site) -> Iterator[Diagnostic]:
    """Judge the checks of the real servers of a virtual server."""
    server = site.server
    zero = all(member.port == 0 for member in site.members)
    shared = (0.0, 0.0)
    for one, at in zip(server.real_servers, site.real, strict=True):
        for check in one.checks:
            if isinstance(check, Connected):
                asked = (check.hosts if isinstance(check, SmtpCheck) else ()) or (check,)
                ports = (check.connect_port or host.connect_port for host in asked)
                portless = isinstance(check, PingCheck)
                if zero and not one.port and not portless and not all(ports):
                    yield _no_port(at, check.kind)
                for host in asked:
                    yield from _families(one, check, host, _block(at, check.kind))
            slow = _slow(server, one, check)
            if slow is not None and _own_times(one, check):
                name = "misc_timeout" if isinstance(check, MiscCheck) else "connect_timeout"
                yield _slow_check(*slow, _check_place(at, check.kind, name))
            elif slow is not None:
                shared = max(shared, slow)
    if shared[0]:
        # The virtual server's own times are the cause: told once, not for each real server.
        yield _slow_check(*shared, site.span("delay_loop", "connect_timeout"))


def _no_port(at: Directive, kind: str) -> Diagnostic:
    message = f"{kind} has no port to connect to"
    hint = "neither the real server nor the virtual server names one; add connect_port"
    return error(Code.CHECK_PORT, place(at, kind, word=0), message, hint)


def _families(
    one: RealServer, check: Connected, host: Connected, block: Directive
) -> Iterator[Diagnostic]:
    """Judge the family of *host*, one that *check* asks, or the check itself."""
    to = host.connect_ip or check.connect_ip or one.address
    source = host.bindto or check.bindto
    if source is not None and len(source) != len(to):
        message = f"bindto is {FAMILIES[len(source)]}, what it asks is {FAMILIES[len(to)]}"
        yield error(Code.CHECK_FAMILY, place(block, "bindto"), message)


def _slow(server: VirtualServer, one: RealServer, check: AnyCheck) -> tuple[float, float] | None:
    """Return the longest time of a probe and the time between two, if the first is longer."""
    # The first that is given, from the inside out; 0 is never a value of these.
    loop = check.delay_loop or one.delay_loop or server.delay_loop or DELAY_LOOP
    if isinstance(check, FileCheck):
        return None
    if isinstance(check, MiscCheck):
        longest = check.misc_timeout or loop
    else:
        timeout = check.connect_timeout or one.connect_timeout or server.connect_timeout
        longest = (timeout or CONNECT_TIMEOUT) * _requests(check)
    return (longest, loop) if longest > loop else None


def _requests(check: AnyCheck) -> int:
    """Return how many requests a probe makes one after the other, each with all of its timeout."""
    match check:
        case HttpGet() | SslGet():
            return len(check.urls)
        case SmtpCheck():
            return len(check.hosts) or 1
        case _:
            return 1


def _own_times(one: RealServer, check: AnyCheck) -> bool:
    """Whether a check has times of its own, so that the virtual server is not the only cause."""
    if isinstance(check, MiscCheck | FileCheck):
        return True
    given = (one.connect_timeout, one.delay_loop, check.connect_timeout, check.delay_loop)
    return any(value is not None for value in given)


def _slow_check(longest: float, loop: float, at: Span) -> Diagnostic:
    message = f"a probe may take {longest:g} s, and the next one is due after {loop:g} s"
    hint = "let the timeout, for each url, be no more than delay_loop"
    return warning(Code.SLOW_CHECK, at, message, hint)


def _check_place(at: Directive, kind: str, name: str) -> Span:
    """Return the place of a keyword in the first check of a kind."""
    return place(_block(at, kind), name)


def _block(at: Directive, kind: str) -> Directive:
    """Return the first check of a kind."""
    return next((child for child in at.children or () if child.words[0] == kind), at)


def file_check_rules(sites: Iterable[Site], files: Collection[str]) -> Iterator[Diagnostic]:
    """Find what a FILE_CHECK names and is not among the *files*, the ``track_file`` blocks."""
    for site in sites:
        for one, at in zip(site.server.real_servers, site.real, strict=True):
            for check in one.checks:
                if isinstance(check, FileCheck) and check.track_file not in files:
                    message = f"the track_file '{check.track_file}' is not defined"
                    listed = ", ".join(sorted(files)[:8])
                    hint = f"track_files in this configuration: {listed or 'none'}"
                    where = _check_place(at, check.kind, "track_file")
                    yield error(Code.TRACK_UNKNOWN, where, message, hint)


def checked_files(servers: Iterable[VirtualServer]) -> frozenset[str]:
    """Return the names of the ``track_file`` blocks that FILE_CHECKs of *servers* name."""
    return frozenset(
        check.track_file
        for server in servers
        for one in server.real_servers
        for check in one.checks
        if isinstance(check, FileCheck)
    )


def mail_rules(sites: Iterable[Site]) -> Iterator[Diagnostic]:
    """Find mails that are asked for where nobody takes them."""
    message = "without smtp_server and notification_email in global_defs there is no mail"
    for site in sites:
        if site.server.smtp_alert:
            yield warning(Code.NO_EFFECT, site.span("smtp_alert", word=0), message)
        for one, at in zip(site.server.real_servers, site.real, strict=True):
            if one.smtp_alert:
                yield warning(Code.NO_EFFECT, place(at, "smtp_alert", word=0), message)
