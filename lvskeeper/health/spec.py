"""What is to be checked and how, as the director role receives it."""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, final

import msgspec

from lvskeeper.units import Address, format_address, format_endpoint

SCRIPT_EXTRA: Final = 30.0
"""Seconds beside its own limit that a script may take to start and to end."""
MAX_NAME: Final = 120
"""Characters of a command in the name of a check."""


@final
class CheckKind(Enum):
    """Kind of a check; the value is keepalived's keyword."""

    TCP = "TCP_CHECK"
    HTTP = "HTTP_GET"
    SSL = "SSL_GET"
    MISC = "MISC_CHECK"
    UDP = "UDP_CHECK"
    DNS = "DNS_CHECK"
    SMTP = "SMTP_CHECK"
    PING = "PING_CHECK"
    FILE = "FILE_CHECK"


@final
@dataclass(frozen=True, slots=True)
class Source:
    """Where the packets of a check come from; the kernel chooses what is not given."""

    address: Address | None = None
    port: int = 0
    interface: str = ""
    """Device that they have to leave by."""
    mark: int = 0
    """Firewall mark that they carry."""

    @property
    def anywhere(self) -> bool:
        """Whether all is the kernel's choice."""
        return self.address is None and not (self.port or self.interface or self.mark)


@final
@dataclass(frozen=True, slots=True)
class Regex:
    """What an answer is searched for, in the syntax of PCRE2."""

    pattern: str
    options: tuple[str, ...] = ()
    """Names of PCRE2's options, in lower case."""
    forbidden: bool = False
    """The answer must not match."""
    first: int = 0
    """Offset into the body at which a match may start at the earliest."""
    last: int | None = None
    """Offset at which it may start at the latest."""


@final
@dataclass(frozen=True, slots=True)
class Url:
    """One URL of an HTTP check: what to get and what must come back."""

    path: str = "/"
    statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    """Accepted status codes, as inclusive ranges."""
    digest: str = ""
    """MD5 of the body in lower-case hex; empty accepts any body."""
    virtualhost: str = ""
    """``Host`` header; empty means the address and port that are checked."""
    regex: Regex | None = None
    sni: str = ""
    """Name that TLS asks for, and that a certificate must be for; empty is the address."""


@final
class HttpVersion(Enum):
    """How a request is made; the value is keepalived's word."""

    V10 = "1.0"
    V10C = "1.0C"
    """With ``Connection: close``."""
    V11 = "1.1"


@final
@dataclass(frozen=True, slots=True)
class Tls:
    """How a check speaks TLS. Files are PEM."""

    verify: bool = False
    """The certificate must be valid, and for the name or address that is asked."""
    ca: str = ""
    """File of trusted authorities; empty means the system's."""
    certificate: str = ""
    """File of our own certificate and what leads to its authority."""
    key: str = ""
    """File of its key; empty: it is in the same file."""
    password: str = field(default="", repr=False)
    """What opens the key."""
    minimum: str = ""
    """Lowest version: ``1.0`` to ``1.3``; empty means the library's."""
    strict_close: bool = False
    """An answer that only the end of the connection ends needs a proper end of TLS."""
    expiry: int = 0
    """Days before the end of the server's certificate from which on it is told; 0: never."""


@final
@dataclass(frozen=True, slots=True)
class ScriptRun:
    """The script of a MISC_CHECK, and who runs it."""

    argv: tuple[str, ...]
    user: str = ""
    group: str = ""
    dynamic: bool = False
    """A status from 2 to 255 is well too, and sets the weight to that less 2."""
    secure: bool = False
    """Do not run it as root where others than root could write it."""


@final
@dataclass(frozen=True, slots=True)
class Udp:
    """What a UDP_CHECK sends, and what it wants."""

    payload: bytes = b"lvskeeper check"
    require_reply: bool = False
    reply: bytes = b""
    """How the answer has to begin, where a bit of *mask* is set."""
    mask: bytes = b""
    shortest: int = 0
    """Least bytes of an answer."""
    longest: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Dns:
    """What a DNS_CHECK asks for."""

    name: str = "."
    type: int = 6
    """Number of the type of records; 6 is SOA."""
    wanted: tuple[str, ...] | None = None
    """Values of which there has to be a record each; empty: any record; ``None``: not even that."""


@final
@dataclass(frozen=True, slots=True)
class Host:
    """One mail server of an SMTP_CHECK."""

    address: Address
    port: int
    connect_timeout: float = 5.0
    source: Source = Source()


@final
@dataclass(frozen=True, slots=True)
class Smtp:
    """How an SMTP_CHECK calls itself, and whom it asks."""

    helo: str = "smtpchecker.keepalived.org"
    hosts: tuple[Host, ...] = ()
    """One after the other; none: the address and port of the check."""


@final
@dataclass(frozen=True, slots=True)
class FileNumber:
    """The file of a FILE_CHECK, and what the number in it does to the weight."""

    path: str
    weight: int = 1
    """What the number is multiplied by; 0: any number but 0 takes the server down."""
    reverse: bool = False
    initial: int | None = None
    """What to write where the file does not exist."""
    overwrite: bool = False
    """Write it also where the file exists."""


@final
@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check of one real server. Times are in seconds.

    Defaults are keepalived's for TCP_CHECK; the configuration resolves inheritance (check, real
    server, virtual server, kind) before it makes one of these.
    """

    kind: CheckKind
    address: Address
    port: int
    connect_timeout: float = 5.0
    """Limit of one request, from connect to the last byte of the answer; or of a script."""
    delay_loop: float = 60.0
    """Time between the starts of two probes while nothing fails."""
    retry: int = 1
    """Further probes after a failure before the server counts as down."""
    delay_before_retry: float = 1.0
    warmup: float = 0.0
    """Upper end of the delay before the first probe; 0 leaves it to the schedule."""
    alpha: bool = False
    """Start as down, and let in after the first success."""
    damping: tuple[int, float] | None = None
    """After so many downs within so many seconds, a success lets it in only when it has answered
    well for as long."""
    source: Source = Source()
    urls: tuple[Url, ...] = ()
    """HTTP only: asked one after the other; all must answer well."""
    http_version: HttpVersion = HttpVersion.V10
    tls: Tls | None = None
    script: ScriptRun | None = None
    udp: Udp | None = None
    dns: Dns | None = None
    smtp: Smtp | None = None
    file: FileNumber | None = None

    @property
    def target(self) -> "CheckSpec":
        """What is asked, with every time and start policy at its default.

        Two checks with the same target are the same check: a reload that only changes times keeps
        what is known about the server.
        """
        return CheckSpec(
            self.kind,
            self.address,
            self.port,
            source=self.source,
            urls=self.urls,
            http_version=self.http_version,
            tls=self.tls,
            script=self.script,
            udp=self.udp,
            dns=self.dns,
            smtp=self.smtp,
            file=self.file,
        )

    @property
    def asked(self) -> "CheckSpec":
        """What is asked and in what rhythm, without what the answer means to its server.

        Checks of several virtual servers that have the same are one probe.
        """
        if not self.alpha and not self.warmup and self.damping is None:
            return self  # the usual case
        return replace(self, alpha=False, warmup=0.0, damping=None)

    @property
    def longest(self) -> float:
        """Seconds that a whole probe may take: :attr:`connect_timeout` for each request.

        A script also has to be started, and may have to be killed.
        """
        if self.script is not None:
            return self.connect_timeout + SCRIPT_EXTRA
        if self.smtp is not None and self.smtp.hosts:
            return sum(host.connect_timeout for host in self.smtp.hosts)
        return self.connect_timeout * max(1, len(self.urls))

    @property
    def weighs(self) -> bool:
        """Whether it may give its server a weight."""
        if self.file is not None:
            return self.file.weight != 0
        return self.script is not None and self.script.dynamic

    def __str__(self) -> str:
        if self.script is not None:
            return f"{self.kind.value} {' '.join(self.script.argv)[:MAX_NAME]}"
        if self.file is not None:
            return f"{self.kind.value} {self.file.path[:MAX_NAME]}"
        if self.kind is CheckKind.PING:
            return f"{self.kind.value} {format_address(self.address)}"
        return f"{self.kind.value} {format_endpoint(self.address, self.port)}"


@final
class Phase(Enum):
    """Where a probe ended."""

    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    STATUS = "status"
    BODY = "body"
    TIMEOUT = "timeout"
    INTERNAL = "internal"
    """The director could not probe (no file descriptor left, a bug): says nothing of the server."""
    DONE = "done"
    """It ran to its end, and all was well."""


@final
@dataclass(frozen=True, slots=True)
class TcpOffer:
    """The TCP options that a real server answered a SYN with."""

    mss: int
    """Segment size in bytes that may be sent to it: its own MSS, or less where the path is."""
    wscale: int | None
    """Its window scale; ``None``: it does not scale."""


@final
class ProbeResult(msgspec.Struct, frozen=True):
    """What one probe found out."""

    phase: Phase
    detail: str = ""
    """In words, for the log: ``connection refused``, ``status 503, wanted 200-299``."""
    elapsed: float = 0.0
    """Seconds from the start of the probe to this result."""
    offer: TcpOffer | None = None
    """What the server's TCP offered, where a connection was made and its kernel tells."""
    weight: int | None = None
    """The weight that the server is to have, where the check says so; a success only."""
    shift: int | None = None
    """Or what is added to its weight."""
    expires: float | None = None
    """When the first of the certificates that it saw expires (seconds since 1970), where wanted."""

    @property
    def ok(self) -> bool:
        """Whether the real server answered as it should."""
        return self.phase is Phase.DONE


@final
@dataclass(frozen=True, slots=True)
class QuorumSpec:
    """When a virtual server counts as served (keepalived's semantics).

    Gained when the weight of its live servers reaches ``quorum + hysteresis``, lost when it falls
    below ``quorum - hysteresis`` or to nothing.
    """

    quorum: int = 1
    hysteresis: int = 0
