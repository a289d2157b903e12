"""The checks of a real server as checked values; a part of :mod:`lvskeeper.config.model`."""

from typing import Annotated, Literal, TypeAlias, final

from pydantic import Field

from lvskeeper.config.base import Command, Model, ScriptUser
from lvskeeper.units import Address


@final
class Ssl(Model):
    """``SSL``: what SSL_GETs that say nothing of it have."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    password: str = ""


class Timed(Model):
    """When a check runs, and how often it may fail. Times are in seconds."""

    retry: int | None = None
    delay_before_retry: float | None = None
    warmup: float | None = None
    delay_loop: float | None = None
    flap_damping: tuple[int, float] | None = None
    alpha: bool | None = None
    log_all_failures: bool = True


class Connected(Model):
    """Where a check connects to, and from where."""

    connect_ip: Address | None = None
    connect_port: int | None = None
    connect_timeout: float | None = None
    bindto: Address | None = None
    bind_port: int | None = None
    bind_if: str | None = None
    fwmark: int | None = None


class Check(Timed, Connected):
    """What all checks by network share."""


@final
class TcpCheck(Check):
    """``TCP_CHECK``."""

    kind: Literal["TCP_CHECK"] = "TCP_CHECK"


@final
class Url(Model):
    """``url`` of an HTTP check."""

    path: str
    status_code: tuple[tuple[int, int], ...] = ((200, 299),)
    digest: str = ""
    virtualhost: str | None = None
    regex: str | None = None
    regex_options: tuple[str, ...] = ()
    regex_no_match: bool = False
    regex_min_offset: int = 0
    regex_max_offset: int | None = None


class Http(Check):
    """What ``HTTP_GET`` and ``SSL_GET`` share."""

    urls: tuple[Url, ...]
    virtualhost: str | None = None
    http_protocol: Literal["1.0", "1.0C", "1.1"] = "1.0"
    fast_recovery: bool = True


@final
class HttpGet(Http):
    """``HTTP_GET``."""

    kind: Literal["HTTP_GET"] = "HTTP_GET"


@final
class SslGet(Http):
    """``SSL_GET``."""

    kind: Literal["SSL_GET"] = "SSL_GET"
    enable_sni: bool = False
    sni_name: str | None = None
    tls_compliant: bool = False
    verify: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    tls_minimum: Literal["", "1.0", "1.1", "1.2", "1.3"] = ""
    expiry_warning: int = 0
    """In days."""


@final
class MiscCheck(Timed):
    """``MISC_CHECK``."""

    kind: Literal["MISC_CHECK"] = "MISC_CHECK"
    misc_path: Command
    misc_timeout: float | None = None
    misc_dynamic: bool = False
    user: ScriptUser | None = None


@final
class UdpCheck(Check):
    """``UDP_CHECK``."""

    kind: Literal["UDP_CHECK"] = "UDP_CHECK"
    payload: str | None = None
    """Hexadecimal digits."""
    require_reply: str | None = None
    """Hexadecimal digits, ``x`` for any; empty for any reply."""
    min_reply_length: int = 0
    max_reply_length: int | None = None


@final
class DnsCheck(Check):
    """``DNS_CHECK``."""

    kind: Literal["DNS_CHECK"] = "DNS_CHECK"
    type: int = 6
    name: str = "."
    require_answer: tuple[str, ...] | None = None
    """Values of records; none: any record."""


@final
class SmtpHost(Connected):
    """``host`` of an ``SMTP_CHECK``; what is ``None`` comes from the check."""


@final
class SmtpCheck(Check):
    """``SMTP_CHECK``."""

    kind: Literal["SMTP_CHECK"] = "SMTP_CHECK"
    helo_name: str | None = None
    hosts: tuple[SmtpHost, ...] = ()


@final
class PingCheck(Check):
    """``PING_CHECK``; it has no ports."""

    kind: Literal["PING_CHECK"] = "PING_CHECK"


@final
class FileWeight(Model):
    """``weight N [reverse]`` of a ``FILE_CHECK``."""

    weight: int
    reverse: bool = False


@final
class FileCheck(Timed):
    """``FILE_CHECK``."""

    kind: Literal["FILE_CHECK"] = "FILE_CHECK"
    track_file: str
    weight: FileWeight | None = None


AnyCheck: TypeAlias = Annotated[
    TcpCheck
    | HttpGet
    | SslGet
    | UdpCheck
    | DnsCheck
    | SmtpCheck
    | PingCheck
    | MiscCheck
    | FileCheck,
    Field(discriminator="kind"),
]
