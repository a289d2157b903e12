"""Readers: from the words of a directive to a value, or to a reason why not.

A reader gets all words, the keyword first, and may rely on the number of words that the keyword
table promises. It raises :class:`BadValueError` with the index of the word that is wrong.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final, TypeAlias

from lvskeeper.config import value_type
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.command import split_command
from lvskeeper.config.numbers import SUFFIX, no_network, to_address, to_int, to_port, to_range
from lvskeeper.config.value_type import Kind, typed, whole
from lvskeeper.ipvs.types import SCHEDULERS
from lvskeeper.units import Address

Reader: TypeAlias = value_type.Reader

TRUE: Final = frozenset({"true", "on", "yes"})
FALSE: Final = frozenset({"false", "off", "no"})
_PLACEHOLDER: Final = re.compile(
    r"\$\{[^{}]*\}|\{\{[^{}]*\}\}|<%[^%]*%>|\$[A-Za-z_]\w*|@[A-Za-z_]\w*@"
)
_INNER: Final = re.compile(r"\$\{[^{}]*\}|\{\{[^{}]*\}\}|<%[^%]*%>|\$[A-Za-z_]\w*")
_SECONDS: Final = re.compile(r"\A(?:\d+(?:\.\d*)?|\.\d+)\Z", re.ASCII)
_USER: Final = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.-]*\$?\Z|\A\d+\Z", re.ASCII)
_DEVICE: Final = re.compile(r"\A[^\s/]{1,15}\Z")
_FACTORS: Final = {"us": 1e-6, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}


def read_from(words: Sequence[str], start: int, read: Reader) -> object:
    """Return what *read* makes of the words from *start* on; its errors are at their own words."""
    try:
        return read(words[start:])
    except BadValueError as bad:
        raise BadValueError(bad.index + start, bad.message, bad.hint) from None


def who_runs(words: Sequence[str], start: int) -> dict[str, object]:
    """Read ``USER [GROUP]`` behind word *start*."""
    found = read_from(words, start, user)
    assert isinstance(found, dict)
    return found


def is_placeholder(word: str) -> bool:
    """Whether all of *word* is a template's placeholder that nobody filled in."""
    return _PLACEHOLDER.fullmatch(word) is not None


def inner_placeholder(word: str) -> str:
    """Return what looks like a placeholder within *word*, or nothing; keepalived keeps it."""
    if "$" not in word and "{{" not in word and "<%" not in word:
        return ""
    found = _INNER.search(word)
    return found[0] if found else ""


def one_of(names: Sequence[str]) -> str:
    """Return the names as a sentence part: ``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


@typed(Kind.FLAG, ("", "true", "on", "yes", "false", "off", "no"), ("maybe", "1", "No"))
def flag(words: Sequence[str]) -> bool:
    """Read ``keyword [true|false]``; alone it means true."""
    if len(words) == 1:
        return True
    word = words[1]
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    lower = word.lower()
    known = lower in TRUE or lower in FALSE
    hint = f"write {lower} in lower case" if known else "leave the word out to switch it on"
    if word == "0":
        hint = "write no, or remove the line, to leave it off; keepalived may take 0 as on"
    raise BadValueError(1, f"'{word}' is neither true|on|yes nor false|off|no", hint)


@typed(Kind.TEXT, ("name", '"a b"'), ('""', "${X}", "{{ x }}"))
def text(words: Sequence[str]) -> str:
    """Read one word as it is; it may not be empty, nor a placeholder."""
    if not words[1]:
        raise BadValueError(1, "the value is empty")
    if is_placeholder(words[1]):
        raise BadValueError(1, "the value is a placeholder")
    return words[1]


def integer(low: int, high: int, unit: str = "") -> Reader:
    """Return a reader of a whole number, in *unit*."""

    @whole(low, high, unit)
    def read(words: Sequence[str]) -> int:
        return to_int(words[1], 1, low, high)

    return read


def signed(low: int, high: int) -> Reader:
    """Return a reader of a whole number that may be negative."""

    @whole(low, high)
    def read(words: Sequence[str]) -> int:
        word = words[1]
        if low < 0 and word.startswith("-"):
            return -to_int(word[1:], 1, 0, -low)
        return to_int(word, 1, low, high)

    return read


def number_or_auto(low: int, high: int) -> Reader:
    """Return a reader of a whole number or ``auto``."""

    @whole(low, high, choices=("auto",))
    def read(words: Sequence[str]) -> int | str:
        if words[1] == "auto":
            return words[1]
        return to_int(words[1], 1, low, high, "a whole number or auto")

    return read


def seconds(*, zero: bool = False, high: float = 86_400.0) -> Reader:
    """Return a reader of a time in seconds, with up to six decimals."""
    bad = ("2s", "-1", "1e3", "nan", "1.0000001", f"{high + 1:.0f}", *(() if zero else ("0",)))

    @typed(Kind.SECONDS, ("0.5", f"{high:.0f}"), bad, low=0, high=high, unit="s")
    def read(words: Sequence[str]) -> float:
        word = words[1]
        if not _SECONDS.match(word):
            raise BadValueError(1, f"'{word}' is not a time in seconds", _seconds_hint(word))
        if len(word.partition(".")[2]) > 6:
            raise BadValueError(1, f"'{word}' has more than six decimals")
        value = float(word)
        if value > high:
            raise BadValueError(1, f"{word} is more than {high:.0f} seconds")
        if not value and not zero:
            raise BadValueError(1, "the time must be more than 0")
        return value

    return read


def _seconds_hint(word: str) -> str:
    found = SUFFIX.match(word)
    if not found:
        return "seconds as a decimal number, such as 3 or 0.5"
    value = float(found[1]) * _FACTORS.get(found[2], 1.0)
    plain = f"{value:.6f}".rstrip("0").rstrip(".")
    return f"times are in seconds, without a unit: write {plain}"


def choice(*names: str, fold: bool = False, reasons: dict[str, str] | None = None) -> Reader:
    """Return a reader of one of *names*; with *fold* in any case. *reasons* explain refusals."""
    known = frozenset(names)

    @typed(Kind.CHOICE, names, ("no-such-word", *(reasons or ())), choices=names)
    def read(words: Sequence[str]) -> str:
        word = words[1].upper() if fold else words[1]
        if word in known:
            return word
        if reasons and word in reasons:
            raise BadValueError(1, f"'{word}' is not served", reasons[word])
        from difflib import get_close_matches  # noqa: PLC0415 - good files need no hints

        close = get_close_matches(word, names, n=1, cutoff=0.7)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise BadValueError(1, f"'{words[1]}' is not known here", f"{hint}one of {one_of(names)}")

    return read


scheduler: Final = choice(
    *SCHEDULERS,
    reasons={"conhash": "a scheduler of DPVS; 'mh' is the kernel's consistent hash"},
)


@typed(Kind.ADDRESS, ("192.0.2.1", "2001:db8::1"), ("host", "192.0.2.1/24", "192.0.2.01"))
def address(words: Sequence[str]) -> Address:
    """Read one address."""
    return to_address(words[1], 1)


@typed(Kind.WORDS, ("192.0.2.77", "192.0.2.77 81"), ("host", "192.0.2.77 65536", "192.0.2.77 http"))
def endpoint(words: Sequence[str]) -> dict[str, object]:
    """Read ``keyword ADDRESS [PORT]``."""
    values: dict[str, object] = {"address": to_address(words[1], 1)}
    if len(words) > 2:
        values["port"] = to_port(words[2], 2)
    return values


@whole(0, 2_678_400, "s")
def established(words: Sequence[str]) -> int | None:
    """Read a timeout of established connections; 0 stands for the kernel's, as in the fork."""
    return to_int(words[1], 1, 0, 2_678_400) or None


@typed(Kind.WORDS, ("192.0.2.1", "192.0.2.1-9 eth0"), ("host", "192.0.2.9-1", "192.0.2.1 a/b"))
def local_address(words: Sequence[str]) -> dict[str, object]:
    """Read an entry ``ADDRESS[-LAST] [DEVICE]`` of a local-address group."""
    first, count = to_range(words[0], 0)
    values: dict[str, object] = {"address": first, "count": count}
    if len(words) > 1:
        if not _DEVICE.match(words[1]):
            raise BadValueError(1, f"'{words[1]}' is not the name of a network device")
        values["device"] = words[1]
    return values


@typed(Kind.WORDS, ("1024-65535",), ("1024", "1023-2000", "2000-65536", "2000-1999"))
def local_ports(words: Sequence[str]) -> tuple[int, int]:
    """Read a range ``FIRST-LAST`` of source ports."""
    first, dash, last = words[1].partition("-")
    if not dash:
        raise BadValueError(1, f"'{words[1]}' is not a range of ports", "such as 10000-65535")
    low, high = (to_int(word, 1, 1024, 65_535, "a port number") for word in (first, last))
    if low > high:
        raise BadValueError(1, f"the range {words[1]} ends before it starts")
    return low, high


@typed(Kind.CHOICE, ("", "yes", "no", "vip"), ("VIP", "1", "maybe"), choices=("yes", "no", "vip"))
def tcp_defence(words: Sequence[str]) -> str:
    """Read ``keyword [yes|no|vip]``; alone it means yes."""
    if words[1:2] == ["vip"]:
        return "vip"
    return "yes" if flag(words) else "no"


@typed(
    Kind.WORDS,
    ("192.0.2.1 80", "192.0.2.1-9 80", "fwmark 3 inet6"),
    ("host 80", "192.0.2.0/28 80", "fwmark 0"),
)
def group_member(words: Sequence[str]) -> dict[str, object]:
    """Read an entry ``ADDRESS[-LAST] [PORT]`` or ``fwmark N [inet|inet6]``."""
    if words[0] == "fwmark":
        if len(words) < 2:
            raise BadValueError(0, "fwmark needs a number")
        values: dict[str, object] = {"fwmark": to_int(words[1], 1, 1, 2**32 - 1)}
        if len(words) > 2:
            values["ip_family"] = read_from(words, 1, choice("inet", "inet6"))
        return values
    no_network(words[0])
    first, count = to_range(words[0], 0, width=2)
    port = to_port(words[1], 1) if len(words) > 1 else 0
    return {"address": first, "count": count, "port": port}


@typed(Kind.WORDS, ("192.0.2.1 80", "fwmark 3"), ("host 80", "fwmark", "group", "192.0.2.1 http"))
def virtual_server(words: Sequence[str]) -> dict[str, object]:
    """Read ``virtual_server ADDRESS [PORT]``, ``fwmark N`` or ``group NAME``."""
    match words[1]:
        case "fwmark":
            if len(words) < 3:
                raise BadValueError(1, "fwmark needs a number")
            return {"fwmark": to_int(words[2], 2, 1, 2**32 - 1)}
        case "group":
            if len(words) < 3:
                raise BadValueError(1, "group needs a name")
            return {"group": words[2]}
        case _:
            return endpoint(words)


@typed(Kind.INTEGER, ("", "1", "2678400"), ("0", "x", "2678401"), low=1, high=2_678_400, unit="s")
def persistence_timeout(words: Sequence[str]) -> int:
    """Read ``persistence_timeout [SECONDS]``; alone it means 360."""
    if len(words) == 1:
        return 360
    if words[1] == "0":
        raise BadValueError(1, "0 does not switch persistence off", "leave the keyword out instead")
    return to_int(words[1], 1, 1, 2_678_400)


@typed(Kind.WORDS, ("24", "255.255.240.0"), ("0", "129", "255.0.0.1"))
def granularity(words: Sequence[str]) -> int:
    """Read a netmask or a prefix length; the value is the prefix length."""
    word = words[1]
    if "." not in word:
        return to_int(word, 1, 1, 128, "a netmask or a prefix length")
    bad = BadValueError(1, f"'{word}' is not a netmask", "such as 255.255.255.0, or 24")
    try:
        bits = f"{int(IPv4Address(word)):032b}"
    except ValueError:
        raise bad from None
    if "01" in bits or bits[0] == "0":
        raise bad
    return bits.count("1")


@typed(
    Kind.WORDS,
    ("NAT", "DR", "TUN", "FNAT", "TUN type gue port 6080"),
    ("nat", "SNAT", "NAT port 1", "TUN port"),
)
def forwarding(words: Sequence[str]) -> dict[str, object]:
    """Read ``NAT|DR|FNAT`` or ``TUN [type ipip|gue|gre] [port N] [nocsum|csum|remcsum]``."""
    method = choice(
        "NAT", "DR", "TUN", "FNAT", reasons={"SNAT": "a gateway service of DPVS, not of IPVS"}
    )(words)
    values: dict[str, object] = {"method": method}
    index = 2
    while index < len(words):
        word = words[index]
        if method != "TUN":
            raise BadValueError(index, f"{method} takes no '{word}'", "only TUN has options")
        if word in {"nocsum", "csum", "remcsum"}:
            values["csum"] = word
            index += 1
            continue
        if word not in {"type", "port"}:
            names = ("type", "port", "nocsum", "csum", "remcsum")
            raise BadValueError(index, f"'{word}' is no option of TUN", f"one of {one_of(names)}")
        if index + 1 == len(words):
            raise BadValueError(index, f"'{word}' needs a value")
        if word == "type":
            values["type"] = read_from(words, index, choice("ipip", "gue", "gre"))
        else:
            values["port"] = to_int(words[index + 1], index + 1, 1, 65_535, "a port number")
        index += 2
    _check_tunnel(values)
    return values


def _check_tunnel(values: dict[str, object]) -> None:
    kind = values.get("type", "ipip")
    if kind == "gue" and "port" not in values:
        raise BadValueError(1, "a gue tunnel needs a port", "TUN type gue port 6080")
    if kind != "gue" and "port" in values:
        raise BadValueError(
            1, f"an {kind} tunnel has no port" if kind == "ipip" else "gre has no port"
        )
    if kind == "ipip" and values.get("csum", "nocsum") != "nocsum":
        raise BadValueError(1, "an ipip tunnel has no checksum", "csum is for gue and gre")


@typed(Kind.WORDS, ("200", "200 301-302"), ("x", "99", "300-200"))
def status_codes(words: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Read ``status_code N[-M] ...``."""
    ranges: list[tuple[int, int]] = []
    for index, word in enumerate(words[1:], 1):
        low, dash, high = word.partition("-")
        first = to_int(low, index, 100, 999, "a status code")
        last = to_int(high, index, 100, 999, "a status code") if dash else first
        if last < first:
            raise BadValueError(index, f"the range {word} ends before it starts")
        ranges.append((first, last))
    return tuple(ranges)


@typed(Kind.TEXT, ("0123456789abcdef0123456789abcdef",), ("0123", "g" * 32))
def digest(words: Sequence[str]) -> str:
    """Read an MD5 sum in hex."""
    word = words[1].lower()
    if not re.fullmatch(r"[0-9a-f]{32}", word):
        raise BadValueError(1, f"'{words[1]}' is not an MD5 sum", "32 hexadecimal digits")
    return word


@typed(Kind.TEXT, ("/a?b=c",), ("a", '"/a b"', "/é"))
def path(words: Sequence[str]) -> str:
    """Read the path of a URL."""
    word = text(words)
    if not word.startswith("/"):
        raise BadValueError(1, f"'{word}' is not a path", "a path starts with /")
    if not word.isascii() or any(char <= " " or char == "\x7f" for char in word):
        raise BadValueError(1, "a path has only printable ASCII characters", "use %20 and the like")
    return word


@typed(Kind.TEXT, ("www.example.com",), ('"a b"', "é"))
def header(words: Sequence[str]) -> str:
    """Read a value that goes into a request header."""
    word = text(words)
    if not word.isascii() or any(char <= " " or char == "\x7f" for char in word):
        raise BadValueError(
            1, f"'{word}' is not a host name", "printable ASCII characters, no blanks"
        )
    return word


@typed(Kind.WORDS, ("nobody", "nobody nogroup"), ("/bin/x", "a b/c"))
def user(words: Sequence[str]) -> dict[str, object]:
    """Read ``keyword USER [GROUP]``."""
    values: dict[str, object] = {}
    for index, (name, word) in enumerate(zip(("user", "group"), words[1:], strict=False), 1):
        if not _USER.match(word):
            hint = 'quote a command with its arguments as one word: "/path/script arg"'
            raise BadValueError(index, f"'{word}' is not the name of a {name}", hint)
        values[name] = word
    return values


@typed(
    Kind.COMMAND,
    ('"/bin/true a"', '"/bin/true" nobody nogroup'),
    ('""', "/bin/true -v", '"> /tmp/x"'),
)
def command(words: Sequence[str]) -> dict[str, object]:
    """Read ``keyword "CMD ARGS" [USER [GROUP]]``."""
    if len(words) > 2 and words[1].endswith("\\"):
        message = r"a quoted word ends at its next double quote: \" does not keep it open"
        hint = "use single quotes within the double ones: \"/path/script 'an arg'\""
        raise BadValueError(1, message, hint)
    argv = split_command(text(words))
    if not argv or not argv[0]:
        raise BadValueError(1, "the command is empty")
    if argv[0].startswith(("<", ">", "|")):
        raise BadValueError(1, f"'{argv[0]}' needs a shell; commands run without one")
    return {"argv": argv, **who_runs(words, 1)}
