"""From the configuration model to the checks of a real server: inheritance and defaults."""

from typing import Final, TypeVar

from lvskeeper.config.check_model import AnyCheck, HttpGet, SslGet, Url
from lvskeeper.config.model import GroupMember, RealServer, VirtualServer
from lvskeeper.health import spec as health

T = TypeVar("T")

_DELAY_LOOP: Final = 60.0
_CONNECT_TIMEOUT: Final = 5.0
_RETRY: Final = 1
_DELAY_BEFORE_RETRY: Final = {"HTTP_GET": 3.0, "SSL_GET": 3.0}
_OTHERS_DELAY: Final = 1.0


def first(*given: T | None, default: T) -> T:
    """Return the first that is given, from the innermost block outwards."""
    for value in given:
        if value is not None:
            return value
    return default


def compile_check(
    server: VirtualServer, one: RealServer, members: tuple[GroupMember, ...], check: AnyCheck
) -> health.CheckSpec:
    """Return *check* of the real server *one*, which serves *members*."""
    # A group may have several ports; without one of its own the check takes the first.
    served = next((member.port for member in members if member.port), 0)
    loop = first(check.delay_loop, one.delay_loop, server.delay_loop, default=_DELAY_LOOP)
    http = check if isinstance(check, HttpGet | SslGet) else None
    return health.CheckSpec(
        kind=health.CheckKind(check.kind),
        address=first(check.connect_ip, default=one.address),
        port=first(check.connect_port, default=one.port or served),
        connect_timeout=first(
            check.connect_timeout,
            one.connect_timeout,
            server.connect_timeout,
            default=_CONNECT_TIMEOUT,
        ),
        delay_loop=loop,
        retry=first(check.retry, one.retry, server.retry, default=_RETRY),
        delay_before_retry=first(
            check.delay_before_retry,
            one.delay_before_retry,
            server.delay_before_retry,
            default=_DELAY_BEFORE_RETRY.get(check.kind, _OTHERS_DELAY),
        ),
        # Not delay_loop as in keepalived: a dead server would get traffic for so long.
        warmup=first(check.warmup, one.warmup, server.warmup, default=0.0),
        alpha=first(check.alpha, one.alpha, default=server.alpha),
        source=health.Source(
            check.bindto, check.bind_port or 0, check.bind_if or "", check.fwmark or 0
        ),
        urls=_urls(server, one, http) if http else (),
        http_version=health.HttpVersion(http.http_protocol) if http else health.HttpVersion.V10,
        tls=_tls(check) if isinstance(check, SslGet) else None,
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


def _tls(check: SslGet) -> health.Tls:
    return health.Tls(
        verify=check.verify,
        ca=check.ca,
        certificate=check.certificate,
        key=check.key,
        minimum=check.tls_minimum,
        strict_close=check.tls_compliant,
    )
