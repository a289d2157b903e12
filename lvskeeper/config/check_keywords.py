"""Keywords of the checks of a real server; a part of :mod:`lvskeeper.config.keywords`."""

from typing import Final

from lvskeeper.config import check_values as c
from lvskeeper.config import keyword as k
from lvskeeper.config import values as v
from lvskeeper.config import vrrp_values as w
from lvskeeper.config.keyword import Keyword

_SECONDS: Final = v.seconds()
_SECONDS_OR_ZERO: Final = v.seconds(zero=True)
_RETRY: Final = v.integer(0, 1000)

ALPHA: Final = "Start as down, and come up with the first success."
VIRTUALHOST: Final = k.text(
    "virtualhost", "NAME", "`Host` of HTTP checks.", v.header, default="ADDRESS:PORT"
)

_TIMEOUT: Final = k.value(
    "connect_timeout", "SECONDS", "Limit of one probe, from connect to the end.", _SECONDS,
    default="5",
)  # fmt: skip
_TIMES: Final = (
    k.value(
        "retry", "N", "Further probes after a failure before the server counts as down.", _RETRY,
        default="1; MISC_CHECK, FILE_CHECK 0; DNS_CHECK 3",
    ),
    k.value(
        "delay_before_retry", "SECONDS", "Time between such probes.", _SECONDS_OR_ZERO,
        default="1; HTTP_GET, SSL_GET 3, DNS_CHECK delay_loop",
    ),
    k.value(
        "warmup", "SECONDS",
        "The first probe is delayed by a random time up to this; by delay_loop at most.",
        _SECONDS_OR_ZERO, default="0; in keepalived delay_loop",
    ),
    k.value(
        "delay_loop", "SECONDS", "Time between probes while nothing changes.", _SECONDS,
        default="60",
    ),
)  # fmt: skip
_DAMPING: Final = Keyword(
    "flap_damping", "COUNT SECONDS", "A check that has taken its server down so often within so "
    "many seconds lets it in again only when it has succeeded for as long.", "L", c.damping,
    least=3, most=3, default="off",
)  # fmt: skip
TIMING: Final = (_TIMEOUT, *_TIMES, _DAMPING)
_START: Final = (
    k.flag("alpha", ALPHA),
    k.flag(
        "log_all_failures", "Tell every failure while the server is up. It changes nothing: all "
        "are told.", default="yes; in keepalived no",
    ),
)  # fmt: skip

_CONNECTION: Final = (
    k.value("connect_ip", "ADDRESS", "Address to connect to.", v.address,
           default="the real server's"),
    k.value("connect_port", "PORT", "Port to connect to.", v.integer(1, 65_535),
           default="the real server's"),
    k.value("bindto", "ADDRESS", "Local address to connect from.", v.address,
           default="the kernel's choice"),
    k.value(
        "bind_port", "PORT", "Local port to connect from. TCP connections are then closed by a "
        "reset, for the kernel keeps a port that was closed in the usual way from the next probe.",
        v.integer(1, 65_535), default="the kernel's choice",
    ),
    k.value("bind_if", "DEVICE", "Device that the packets have to leave by.", c.device,
           default="any"),
    k.value("fwmark", "N", "Firewall mark of the packets.", v.integer(1, 2**32 - 1),
           default="none"),
)  # fmt: skip
_CHECK: Final = (*_CONNECTION, *TIMING, *_START)

_HTTP: Final = (
    *_CHECK,
    Keyword("nb_get_retry", "N", "Old name of `retry`.", "K", _RETRY, least=2, key="retry",
            instead="retry"),
    k.text("virtualhost", "NAME", "`Host` of urls that give none.", v.header,
          default="the real server's"),
    k.value(
        "http_protocol", "1.0|1.0C|1.1", "Version of the request; 1.0C and 1.1 ask the server to "
        "close the connection.", v.choice("1.0", "1.0C", "1.1"), default="1.0",
    ),
    k.flag(
        "fast_recovery", "Ask for all urls at once. It changes nothing: every probe asks for all.",
        default="yes; in keepalived no",
    ),
    k.block("url", "", "What to get, and what must come back; one or more.", key="urls"),
)  # fmt: skip

_TLS: Final = (
    k.flag(
        "enable_sni", "Tell the server in the handshake which name is asked for: `sni_name`, else "
        "the url's `virtualhost`.",
    ),
    k.text(
        "sni_name", "NAME", "Name to ask for in the handshake; it switches `enable_sni` on.",
        v.header, default="virtualhost",
    ),
    k.flag(
        "tls_compliant", "Where only the end of the connection ends an answer, that has to be an "
        "end of TLS (close_notify), so that a cut answer is found.",
    ),
    k.flag(
        "verify", "The certificate must be valid, and for the name of `enable_sni`, which this "
        "switches on, or the address. keepalived never verifies.", "L",
    ),
    k.text("ca", "FILE", "Authorities to trust with `verify`, as PEM.", c.file,
          default="that of SSL, else the system's"),
    k.text("certificate", "FILE", "Certificate to show to the server, as PEM.", c.file,
          default="that of SSL"),
    k.text("key", "FILE", "Key of `certificate`, as PEM, without a password.", c.file,
          default="in the certificate's file"),
    Keyword(
        "tls_minimum", "1.0|1.1|1.2|1.3", "Lowest version of TLS that will do.", "L",
        v.choice("1.0", "1.1", "1.2", "1.3"), least=2, default="the library's",
    ),
    Keyword(
        "expiry_warning", "DAYS", "Tell once a day (`certificate_expires`) that the server's "
        "certificate expires within so many days. It needs no `verify`.", "L",
        v.integer(1, 3650, "days"), least=2, default="never",
    ),
)  # fmt: skip

_URL: Final = (
    k.text("path", "PATH", "What to get.", v.path),
    Keyword("status_code", "N[-M] ...", "Status codes to accept.", "K", v.status_codes, least=2,
            most=99, default="200-299"),
    k.value("digest", "MD5", "MD5 sum that the body must have.", v.digest, default="any body"),
    k.text("virtualhost", "NAME", "`Host` of this request.", v.header, default="the check's"),
    k.text(
        "regex", "PATTERN", "What the body, its first MiB at most, must match: a regular "
        "expression of PCRE2. As in keepalived a backslash escapes, so one for PCRE2 is written "
        r"twice: `^ok\\s`.", c.regex, default="any body",
    ),
    Keyword(
        "regex_options", "OPTION ...", "Options of PCRE2 in lower case, such as `caseless`, "
        "`multiline`, `dotall`, `utf`.", "K", c.regex_options, least=2, most=99,
    ),
    k.flag("regex_no_match", "The body must not match."),
    k.value("regex_min_offset", "N", "A match starts at this byte of the body at the earliest.",
            v.integer(0, 2**31 - 1), default="0"),
    k.value("regex_max_offset", "N", "A match starts at this byte of the body at the latest.",
            v.integer(0, 2**31 - 1), default="the end"),
)  # fmt: skip

_MISC: Final = (
    Keyword("misc_path", '"CMD ARGS"', "What to run, without a shell; required.", "K", w.script,
            least=2, most=99, whole=True),
    k.value("misc_timeout", "SECONDS", "Limit of a run. Then its whole process group gets SIGTERM, "
            "2 s later SIGKILL.", _SECONDS, default="delay_loop"),
    k.bare("misc_dynamic", "An exit status from 2 to 255 is a success too, and sets the weight to "
           "that less 2."),
    Keyword("user", "USER [GROUP]", "Who runs it.", "K", v.user, least=2, most=3,
            default="script_user"),
    *_TIMES,
    _DAMPING,
    *_START,
)  # fmt: skip

_UDP: Final = (
    *_CHECK,
    Keyword("payload", "HEX ...", "What to send.", "K", c.payload, least=2, most=999,
            default="a text"),
    Keyword(
        "require_reply", "[HEX ...]", "There must be an answer; with HEX one that begins so, an "
        "`x` in place of a digit is any. Without it silence is well, and only an ICMP error is a "
        "failure.", "K", c.reply, most=999, default="no",
    ),
    k.value("min_reply_length", "N", "Least bytes of a required answer.", v.integer(0, 65_535),
            default="0"),
    k.value("max_reply_length", "N", "Most bytes of a required answer.", v.integer(0, 65_535),
            default="any; in keepalived 255"),
)  # fmt: skip

_DNS: Final = (
    *_CHECK,
    k.value("type", "TYPE", "What to ask for: a type of records by its name, such as A, MX or "
            "HTTPS, or as TYPE with its number.", c.dns_type, default="SOA"),
    k.text("name", "NAME", "Of which name.", c.dns_name, default="the root"),
    Keyword(
        "require_answer", "[VALUE ...]", "There must be a record of the type in the answer; with "
        'VALUEs one of each, as zone files have them: `192.0.2.1`, `"10 mail.example."`. Without '
        "it the records are not looked at.", "L", c.dns_answer, most=99, default="no",
    ),
)  # fmt: skip

_SMTP: Final = (
    *_CHECK,
    k.text("helo_name", "NAME", "Who we say we are.", v.header,
           default="smtpchecker.keepalived.org"),
    k.block(
        "host", "", "A mail server to ask in place of the real server; all of several must answer. "
        "What it does not say is as in the check.", key="hosts",
    ),
)  # fmt: skip

_PING: Final = tuple(
    keyword for keyword in _CHECK if keyword.name not in {"connect_port", "bind_port"}
)

_FILE: Final = (
    k.text("track_file", "NAME", "The `track_file` whose number counts; required.", v.text),
    Keyword(
        "weight", "N [reverse|noreverse]", "The number in the file times this is added to the "
        "server's weight; a sum at -2147483647 or below takes it down. With 0 any number but 0 "
        "does, or 0 itself with `reverse`.", "K", c.file_weight, least=2, most=3,
        default="the track_file's",
    ),
    *_TIMES,
    _DAMPING,
    *_START,
)  # fmt: skip

BLOCKS: Final = (
    k.block("TCP_CHECK", "", "Up when a connection can be made.", key="checks"),
    k.block("HTTP_GET", "", "Up when every `url` is answered as it says.", key="checks"),
    k.block("SSL_GET", "", "The same over TLS.", key="checks"),
    k.block("MISC_CHECK", "", "Up when a script ends with status 0.", key="checks"),
    k.block("UDP_CHECK", "", "Up when a datagram brings no ICMP error, or the answer that it "
            "should.", key="checks"),
    k.block("DNS_CHECK", "", "Up when a DNS server answers without an error code.", key="checks"),
    k.block("SMTP_CHECK", "", "Up when a mail server greets, and answers HELO.", key="checks"),
    k.block(
        "PING_CHECK", "", "Up when an echo request (ICMP) is answered. With `lvs_manage_sysctls` "
        "the director's group is put into `net.ipv4.ping_group_range`.", key="checks",
    ),
    k.block("FILE_CHECK", "", "The number in a file weighs the server, or takes it down.",
            key="checks"),
    k.refuse(
        k.block("BFD_CHECK", "", "Up while a BFD session is.", key="checks"),
        "BFD is not spoken here, so a session would never come up; another check finds a dead "
        "server, and delay_loop says how soon",
    ),
)  # fmt: skip

ROOT_BLOCK: Final = k.block("SSL", "", "Files of SSL_GETs that name none themselves.", key="ssl")

_SSL: Final = (
    k.text("ca", "FILE", "As in SSL_GET.", c.file, default="the system's"),
    k.text("certificate", "FILE", "As in SSL_GET.", c.file, default="none"),
    k.text("key", "FILE", "As in SSL_GET.", c.file, default="in the certificate's file"),
    k.text("password", "TEXT", "What opens `key`.", v.text, default="none"),
)  # fmt: skip

TABLES: Final = (
    ("SSL", _SSL),
    ("TCP_CHECK", _CHECK),
    ("HTTP_GET", _HTTP),
    ("SSL_GET", (*_HTTP, *_TLS)),
    ("url", _URL),
    ("MISC_CHECK", _MISC),
    ("UDP_CHECK", _UDP),
    ("DNS_CHECK", _DNS),
    ("SMTP_CHECK", _SMTP),
    ("PING_CHECK", _PING),
    ("FILE_CHECK", _FILE),
    ("host", (*_CONNECTION, _TIMEOUT)),
)
