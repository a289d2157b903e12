"""From the configuration model to the checks of a real server: inheritance and defaults."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar, assert_never, final

from lvskeeper.config.base import ScriptUser
from lvskeeper.config.check_model import (
    AnyCheck,
    Connected,
    DnsCheck,
    FileCheck,
    HttpGet,
    MiscCheck,
    PingCheck,
    SmtpCheck,
    Ssl,
    SslGet,
    TcpCheck,
    UdpCheck,
    Url,
)
from lvskeeper.config.model import GroupMember, RealServer, VirtualServer
from lvskeeper.health import spec as health

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvskeeper.config.vrrp_model import TrackFile

T = TypeVar("T")

_DELAY_LOOP: Final = 60.0
_CONNECT_TIMEOUT: Final = 5.0
_RETRY: Final = {"MISC_CHECK": 0, "FILE_CHECK": 0, "DNS_CHECK": 3}
_OTHERS_RETRY: Final = 1
_DELAY_BEFORE_RETRY: Final = {"HTTP_GET": 3.0, "SSL_GET": 3.0}
_OTHERS_DELAY: Final = 1.0
_ANYWHERE: Final = health.Source()
_NOWHERE_GIVEN: Final = (None, None, None, None)


def first(*given: T | None, default: T) -> T:
    """Return the first that is given, from the innermost block outwards."""
    for value in given:
        if value is not None:
            return value
    return default


@final
@dataclass(frozen=True, slots=True)
class Common:
    """What checks of all real servers refer to."""

    user: ScriptUser
    """Who runs scripts that name nobody."""
    secure: bool
    """``enable_script_security``."""
    ssl: Ssl
    files: "Mapping[str, TrackFile]"
    """The ``track_file`` blocks by name."""
    mails: bool | None = None
    """``smtp_alert_checker``, else ``smtp_alert``."""


def compile_check(
    server: VirtualServer,
    one: RealServer,
    members: tuple[GroupMember, ...],
    check: AnyCheck,
    common: Common,
) -> health.CheckSpec:
    """Return *check* of the real server *one*, which serves *members*."""
    # A group may have several ports; without one of its own the check takes the first.
    port = one.port or next((member.port for member in members if member.port), 0)
    loop = first(check.delay_loop, one.delay_loop, server.delay_loop, default=_DELAY_LOOP)
    to, limit, source = one.address, _CONNECT_TIMEOUT, _ANYWHERE
    match check:
        case MiscCheck():
            limit = first(check.misc_timeout, default=loop)
        case FileCheck():
            pass
        case _:
            to = first(check.connect_ip, default=to)
            port = first(check.connect_port, default=port)
            limit = first(
                check.connect_timeout,
                one.connect_timeout,
                server.connect_timeout,
                default=_CONNECT_TIMEOUT,
            )
            source = _source(check)
    spec = health.CheckSpec(
        kind=health.CheckKind(check.kind),
        address=to,
        port=port,
        connect_timeout=limit,
        delay_loop=loop,
        retry=first(
            check.retry, one.retry, server.retry, default=_RETRY.get(check.kind, _OTHERS_RETRY)
        ),
        delay_before_retry=first(
            check.delay_before_retry,
            one.delay_before_retry,
            server.delay_before_retry,
            default=loop
            if isinstance(check, DnsCheck)
            else _DELAY_BEFORE_RETRY.get(check.kind, _OTHERS_DELAY),
        ),
        # Not delay_loop as in keepalived: a dead server would get traffic for so long.
        warmup=first(check.warmup, one.warmup, server.warmup, default=0.0),
        alpha=first(check.alpha, one.alpha, default=server.alpha),
        damping=check.flap_damping or one.flap_damping or server.flap_damping,
        source=source,
    )
    return _ask(server, one, check, spec, common)


def _source(check: Connected) -> health.Source:
    given = (check.bindto, check.bind_port, check.bind_if, check.fwmark)
    if given == _NOWHERE_GIVEN:
        return _ANYWHERE  # the usual case, ten thousand times
    address, port, interface, mark = given
    return health.Source(address, port or 0, interface or "", mark or 0)


def _ask(
    server: VirtualServer,
    one: RealServer,
    check: AnyCheck,
    spec: health.CheckSpec,
    common: Common,
) -> health.CheckSpec:
    """Return *spec* with what the kind of *check* asks."""
    match check:
        case TcpCheck():
            made = spec
        case HttpGet() | SslGet():
            made = replace(
                spec,
                urls=_urls(server, one, check),
                http_version=health.HttpVersion(check.http_protocol),
                tls=_tls(check, common.ssl) if isinstance(check, SslGet) else None,
            )
        case UdpCheck():
            made = replace(spec, udp=_udp(check))
        case DnsCheck():
            made = replace(spec, dns=health.Dns(check.name, check.type, check.require_answer))
        case SmtpCheck():
            made = replace(spec, smtp=_smtp(check, spec))
        case PingCheck():
            made = replace(spec, port=0)
        case MiscCheck():
            made = replace(spec, script=_script(check, common))
        case FileCheck():
            made = replace(spec, file=_file(check, common.files[check.track_file]))
        case _:
            assert_never(check)
    return made


def _smtp(check: SmtpCheck, spec: health.CheckSpec) -> health.Smtp:
    """Return whom *check* asks; *spec* has what its hosts do not say."""
    source = spec.source
    hosts = tuple(
        health.Host(
            first(host.connect_ip, default=spec.address),
            first(host.connect_port, default=spec.port),
            first(host.connect_timeout, default=spec.connect_timeout),
            health.Source(
                first(host.bindto, default=source.address),
                first(host.bind_port, default=source.port),
                first(host.bind_if, default=source.interface),
                first(host.fwmark, default=source.mark),
            ),
        )
        for host in check.hosts
    )
    return health.Smtp(first(check.helo_name, default=health.Smtp().helo), hosts)


def _udp(check: UdpCheck) -> health.Udp:
    reply = check.require_reply or ""
    asked = health.Udp(
        require_reply=check.require_reply is not None,
        reply=bytes.fromhex(reply.replace("x", "0")),
        mask=bytes.fromhex("".join("0" if digit == "x" else "f" for digit in reply)),
        shortest=check.min_reply_length,
        longest=check.max_reply_length,
    )
    if check.payload is None:
        return asked
    return replace(asked, payload=bytes.fromhex(check.payload))


def _file(check: FileCheck, file: "TrackFile") -> health.FileNumber:
    weight = check.weight or file.weight
    init = file.init_file
    return health.FileNumber(
        file.file,
        weight.weight if weight else 1,
        reverse=weight is not None and weight.reverse,
        initial=init.value if init else None,
        overwrite=init is not None and init.overwrite,
    )


def _script(check: MiscCheck, common: Common) -> health.ScriptRun:
    who = check.user or common.user
    return health.ScriptRun(
        check.misc_path.argv, who.user, who.group, check.misc_dynamic, common.secure
    )


def _urls(
    server: VirtualServer, one: RealServer, check: HttpGet | SslGet
) -> tuple[health.Url, ...]:
    outer = first(check.virtualhost, one.virtualhost, server.virtualhost, default="")
    return tuple(_url(check, url, first(url.virtualhost, default=outer)) for url in check.urls)


def _url(check: HttpGet | SslGet, url: Url, host: str) -> health.Url:
    regex = None
    if url.regex is not None:
        regex = health.Regex(
            url.regex,
            url.regex_options,
            url.regex_no_match,
            url.regex_min_offset,
            url.regex_max_offset,
        )
    return health.Url(
        path=url.path,
        statuses=url.status_code,
        digest=url.digest,
        virtualhost=host,
        regex=regex,
        sni=_sni(check, host) if isinstance(check, SslGet) else "",
    )


def _sni(check: SslGet, host: str) -> str:
    """Return the name that TLS asks for; a ``Host`` may have a port, a name may not."""
    if check.sni_name is not None:
        return check.sni_name
    if not check.enable_sni and not check.verify:
        return ""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def _tls(check: SslGet, ssl: Ssl) -> health.Tls:
    """Return how *check* speaks TLS; key and certificate come from one place."""
    own = bool(check.certificate)
    return health.Tls(
        verify=check.verify,
        ca=check.ca or ssl.ca,
        certificate=check.certificate if own else ssl.certificate,
        key=check.key if own else ssl.key,
        password="" if own else ssl.password,
        minimum=check.tls_minimum,
        strict_close=check.tls_compliant,
        expiry=check.expiry_warning,
    )
