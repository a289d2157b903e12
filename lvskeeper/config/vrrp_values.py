"""Readers of what only the VRRP half has: weights, peers, virtual devices, keys.

Those of entries get the entry's own words, the first at index 0; the others the keyword first.
"""

import re
from collections.abc import Sequence
from typing import Final

from lvskeeper.config import values as v
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.numbers import to_address, to_int, to_port
from lvskeeper.config.value_type import Kind, typed, whole

MAX_WEIGHT: Final = 253
MAX_FILE_WEIGHT: Final = 254
MAX_CPU: Final = 1023

# Compiled when first needed: files without VRRP need none of them.
_SIGNED: Final = r"\A[+-]?[0-9]{1,9}\Z"
_DEVICE: Final = r"\A[^\s/:]{1,15}\Z"
_PREFIX: Final = r"\A[^\s/:]{0,8}\Z"
UNFILLED: Final = r"\$\{[^{}]*\}|\{\{[^{}]*\}\}|<%[^%]*%>|@[A-Za-z_]\w*@"
"""A placeholder that no password is; ``$name`` may be one."""


@typed(Kind.WORDS, ("192.0.2.9/24", "192.0.2.9 dev eth0"), ("host", "192.0.2.9/33"))
def address_entry(words: Sequence[str]) -> dict[str, object]:
    """Read an entry of ``virtual_ipaddress`` and its like."""
    from lvskeeper.config import holding_entries  # noqa: PLC0415 - for files with VRRP only

    return holding_entries.address_entry(words)


@typed(
    Kind.WORDS,
    ("198.51.100.0/24 via 192.0.2.254", "default dev eth0"),
    ("192.0.2.0/33", "198.51.100.0/24 via host"),
)
def route_entry(words: Sequence[str]) -> dict[str, object]:
    """Read an entry of ``virtual_routes`` and its like."""
    from lvskeeper.config import holding_entries  # noqa: PLC0415 - for files with VRRP only

    return holding_entries.route_entry(words)


@typed(
    Kind.WORDS,
    ("from 192.0.2.0/24 table 100",),
    ("from 192.0.2.0/33 table 100", "from host table 1"),
)
def rule_entry(words: Sequence[str]) -> dict[str, object]:
    """Read an entry of ``virtual_rules`` and its like."""
    from lvskeeper.config import holding_entries  # noqa: PLC0415 - for files with VRRP only

    return holding_entries.rule_entry(words)


def to_signed(word: str, index: int, low: int, high: int) -> int:
    """Return *word* as a whole number that may have a sign."""
    if not re.match(_SIGNED, word):
        raise BadValueError(index, f"'{word}' is not a whole number", f"from {low} to {high}")
    if not low <= (number := int(word)) <= high:
        raise BadValueError(index, f"{word} is not within {low} to {high}")
    return number


def signed(low: int, high: int) -> v.Reader:
    """Return a reader of a number that may be negative."""

    @whole(low, high)
    def read(words: Sequence[str]) -> int:
        return to_signed(words[1], 1, low, high)

    return read


def weight(high: int) -> v.Reader:
    """Return a reader of ``weight N [reverse]`` with N from -*high* to *high*."""

    @typed(Kind.WORDS, (str(-high), f"{high} reverse"), (str(high + 1), "x", "1 x", "1.5"))
    def read(words: Sequence[str]) -> dict[str, object]:
        return _weight(words, 1, high, ("reverse",))

    return read


def _weight(words: Sequence[str], index: int, high: int, tails: Sequence[str]) -> dict[str, object]:
    values: dict[str, object] = {"weight": to_signed(words[index], index, -high, high)}
    if len(words) > index + 1:
        word = words[index + 1]
        if word not in tails:
            raise BadValueError(index + 1, f"'{word}' has no meaning here", v.one_of(tails))
        values["reverse"] = word == "reverse"
    if len(words) > index + 2:
        raise BadValueError(index + 2, f"'{words[index + 2]}' has no meaning here")
    return values


def track(high: int, *, link: bool = False) -> v.Reader:
    """Return a reader of an entry ``NAME [weight N [reverse|noreverse]]``.

    With *link* the name is that of an interface.
    """
    good = ("eth0", f"eth0 weight {-high}", "eth0 weight 1 reverse")

    @typed(Kind.WORDS, good, ("eth0 x", "eth0 weight", f"eth0 weight {high + 1}"))
    def read(words: Sequence[str]) -> dict[str, object]:
        name = to_device(words[0], 0) if link else to_name(words[0], 0)
        if len(words) == 1:
            return {"name": name}
        form = "the form is: NAME [weight N [reverse|noreverse]]"
        if words[1] != "weight":
            raise BadValueError(1, f"'{words[1]}' has no meaning here", form)
        if len(words) == 2:
            raise BadValueError(1, "'weight' needs a number", form)
        return {"name": name, **_weight(words, 2, high, ("reverse", "noreverse"))}

    return read


def to_name(word: str, index: int) -> str:
    """Return *word* as the name of something that is defined elsewhere."""
    if not word or v.is_placeholder(word):
        raise BadValueError(index, f"'{word}' is not a name")
    return word


@typed(Kind.WORDS, ("A", "A B"), ("${X}", '""'))
def names(words: Sequence[str]) -> list[str]:
    """Read an entry of one or more names."""
    return [to_name(word, index) for index, word in enumerate(words)]


def to_device(word: str, index: int) -> str:
    """Return *word* as the name of a network device."""
    if not re.match(_DEVICE, word) or v.is_placeholder(word):
        raise BadValueError(index, f"'{word}' is not the name of a network device")
    return word


@typed(Kind.WORDS, ("eth0", "eth0 eth1"), ("a/b", "$IF"))
def devices(words: Sequence[str]) -> list[str]:
    """Read an entry of one or more interfaces."""
    return [to_device(word, index) for index, word in enumerate(words)]


@typed(Kind.TEXT, ("eth1",), ("a/b", "a:b", "sixteen-letters-x", "$IF"))
def device(words: Sequence[str]) -> str:
    """Read ``keyword INTERFACE``."""
    return to_device(words[1], 1)


@typed(Kind.TEXT, ("v",), ("a/b", "ninechars", "$P"))
def name_prefix(words: Sequence[str]) -> str:
    """Read the start of the names of devices."""
    if not re.match(_PREFIX, words[1]) or v.is_placeholder(words[1]):
        message = f"'{words[1]}' cannot start the name of a device"
        raise BadValueError(1, message, "at most 8 characters: a dot and the VRID follow")
    return words[1]


@typed(Kind.FLAG, ("", "yes", "no"), ("maybe", "1", "No"))
def off(words: Sequence[str]) -> bool:
    """Read a keyword that switches another one off."""
    return not v.flag(words)


@typed(Kind.CHOICE, ("2", "3"), ("1", "4", "x"), choices=("2", "3"))
def version(words: Sequence[str]) -> int:
    """Read a version of VRRP."""
    return to_int(words[1], 1, 2, 3)


def seconds(low: float, high: float) -> v.Reader:
    """Return a reader of a time from *low* to *high* seconds."""
    plain = v.seconds(zero=True, high=high)

    bad = ("2s", "-1", "1e3", "1.0000001", f"{high + 1:.0f}", *(("0",) if low else ()))

    @typed(Kind.SECONDS, (f"{low:g}", f"{high:.0f}"), bad, low=low, high=high, unit="s")
    def read(words: Sequence[str]) -> float:
        value = plain(words)
        assert isinstance(value, float)
        if value < low:
            raise BadValueError(1, f"{words[1]} is less than {low:g} seconds")
        return value

    return read


def whole_seconds(high: int) -> v.Reader:
    """Return a reader of a time in whole seconds."""

    @whole(0, high, "s")
    def read(words: Sequence[str]) -> float:
        return float(to_int(words[1], 1, 0, high))

    return read


@typed(Kind.ADDRESS, ("192.0.2.1", "192.0.2.1/24"), ("host", "192.0.2.1/x"))
def source(words: Sequence[str]) -> object:
    """Read an address; keepalived passes over a prefix length behind it."""
    head, slash, length = words[1].partition("/")
    if slash and length.isdecimal():
        return to_address(head, 1)
    return to_address(words[1], 1)


@typed(
    Kind.WORDS,
    ("192.0.2.2", "192.0.2.2 min_ttl 250 max_ttl 255"),
    ("host", "192.0.2.2 min_ttl", "192.0.2.2 x 1"),
)
def peer(words: Sequence[str]) -> dict[str, object]:
    """Read an entry ``ADDRESS [min_ttl N] [max_ttl N]``."""
    values: dict[str, object] = {"address": to_address(words[0], 0)}
    for index in range(1, len(words), 2):
        if words[index] not in {"min_ttl", "max_ttl"}:
            form = "the form is: ADDRESS [min_ttl N] [max_ttl N]"
            raise BadValueError(index, f"'{words[index]}' has no meaning here", form)
        if index + 1 == len(words):
            raise BadValueError(index, f"'{words[index]}' needs a number")
        values[words[index]] = to_int(words[index + 1], index + 1, 0, 255)
    low, high = values.get("min_ttl", 0), values.get("max_ttl", 255)
    if isinstance(low, int) and isinstance(high, int) and low > high:
        raise BadValueError(0, f"no TTL is at least {low} and at most {high}")
    return values


@typed(Kind.ADDRESS, ("224.0.0.20",), ("192.0.2.1", "host", "ff02::12"))
def group4(words: Sequence[str]) -> object:
    """Read a multicast group of IPv4."""
    return _multicast(words, 4)


@typed(Kind.ADDRESS, ("ff02::14",), ("2001:db8::1", "host", "224.0.0.18"))
def group6(words: Sequence[str]) -> object:
    """Read a multicast group of IPv6."""
    return _multicast(words, 16)


@typed(Kind.ADDRESS, ("224.0.0.20", "ff02::14"), ("192.0.2.1", "host"))
def multicast(words: Sequence[str]) -> object:
    """Read a multicast group of either family."""
    return _multicast(words, 0)


def _multicast(words: Sequence[str], size: int) -> object:
    address = to_address(words[1], 1)
    if size and len(address) != size:
        family = "IPv4" if size == 4 else "IPv6"
        raise BadValueError(1, f"'{words[1]}' is not an {family} address")
    if not (224 <= address[0] < 240 if len(address) == 4 else address[0] == 0xFF):
        raise BadValueError(1, f"'{words[1]}' is not a multicast address")
    return address


@typed(Kind.TEXT, ("$ecret",), ('""', "${X}", "@X@"))
def password(words: Sequence[str]) -> str:
    """Read a password; ``$`` is a character like others."""
    if not words[1]:
        raise BadValueError(1, "the password is empty")
    if re.fullmatch(UNFILLED, words[1]):
        raise BadValueError(1, "the value is a placeholder")
    if "\0" in words[1]:
        raise BadValueError(1, "a password cannot hold a NUL character")
    return words[1]


@typed(Kind.WORDS, ("60", "all 60"), ("all", "x", "86401"))
def extra_interfaces(words: Sequence[str]) -> float:
    """Read ``[all] SECONDS``; all interfaces are the only choice here."""
    index = 2 if words[1] == "all" else 1
    if index == len(words):
        raise BadValueError(1, "'all' needs a time in seconds behind it")
    return float(to_int(words[index], index, 0, 86_400, "a time in whole seconds"))


@typed(Kind.INTEGER, ("", "1", "254"), ("0", "255", "x"), low=1, high=254)
def timer_expired(words: Sequence[str]) -> int:
    """Read ``[PRIORITY]``; alone it means 254."""
    return to_int(words[1], 1, 1, 254) if len(words) > 1 else 254


@typed(Kind.CHOICE, ("", "never"), ("always",), choices=("never",))
def old_checksum(words: Sequence[str]) -> str:
    """Read ``[never]``."""
    if len(words) > 1 and words[1] != "never":
        raise BadValueError(1, f"'{words[1]}' has no meaning here", "never, or nothing")
    return "never" if len(words) > 1 else "send"


@typed(
    Kind.CHOICE,
    ("", "allow_if_changes", "no"),
    ("maybe",),
    choices=("yes", "no", "allow_if_changes"),
)
def dynamic(words: Sequence[str]) -> bool:
    """Read ``[allow_if_changes]``, or a flag."""
    return words[1:2] == ["allow_if_changes"] or v.flag(words)


@typed(Kind.WORDS, ("0", "0 3"), ("x", "-1", "1024"))
def cpus(words: Sequence[str]) -> tuple[int, ...]:
    """Read numbers of processors."""
    return tuple(to_int(word, index, 0, MAX_CPU) for index, word in enumerate(words[1:], 1))


@typed(Kind.WORDS, ("/run/f", "/run/f a b"), ("f", "/run/f /x"))
def fifo(words: Sequence[str]) -> dict[str, object]:
    """Read ``keyword PATH [USER [GROUP]]``."""
    if not words[1].startswith("/"):
        raise BadValueError(1, f"'{words[1]}' is not a path", "a path from / on")
    return {"path": words[1], **v.who_runs(words, 1)} if len(words) > 2 else {"path": words[1]}


@typed(Kind.PATH, ("/run/x",), ("x", "$X", '""'))
def file_path(words: Sequence[str]) -> str:
    """Read the path of a file."""
    word = v.text(words)
    if not word.startswith("/") or "\0" in word:
        raise BadValueError(1, f"'{word}' is not a path", "a path from / on")
    return word


@typed(Kind.WORDS, ("192.0.2.1", "mail.example.com 587"), ("é", "a 65536"))
def mail_server(words: Sequence[str]) -> dict[str, object]:
    """Read ``HOST [PORT]``."""
    values: dict[str, object] = {"host": v.header(words)}
    if len(words) > 2:
        values["port"] = to_port(words[2], 2)
    return values


@typed(Kind.WORDS, ("a@example.com", "a@example.com b@example.com"), ("${X}", '""'))
def mail_addresses(words: Sequence[str]) -> list[str]:
    """Read an entry of one or more mail addresses."""
    return [_mail(word, index) for index, word in enumerate(words)]


@typed(Kind.TEXT, ("a@example.com",), ('""', "$X"))
def mail_address(words: Sequence[str]) -> str:
    """Read one mail address."""
    return _mail(words[1], 1)


def _mail(word: str, index: int) -> str:
    if not word or v.is_placeholder(word) or not word.isprintable():
        raise BadValueError(index, f"'{word}' is not a mail address")
    return word


@typed(Kind.COMMAND, ("/bin/true", '"/bin/true a"'), ('""', "/bin/true -v", '"> /tmp/x"'))
def script(words: Sequence[str]) -> dict[str, object]:
    """Read ``script "CMD ARGS"``; who runs it is said by ``user``."""
    if len(words) > 2:
        hint = 'quote a command with its arguments as one word: "/path/script arg"'
        raise BadValueError(2, f"'{words[2]}' is not part of the command", hint)
    return v.command(words)


@typed(Kind.WORDS, ("/bin/x", '/bin/x "a b"'), ('""', "$X"))
def process(words: Sequence[str]) -> dict[str, object]:
    """Read ``process PATH [ARGUMENT ...]``."""
    return {"path": v.text(words), "arguments": tuple(words[2:])}


@typed(Kind.CHOICE, ("", "initial", "partial"), ("exact",), choices=("initial", "partial"))
def argument_match(words: Sequence[str]) -> str:
    """Read ``param_match [initial|partial]``."""
    return str(v.choice("initial", "partial")(words)) if len(words) > 1 else "exact"


@typed(Kind.WORDS, ("", "-5", "-5 overwrite"), ("x", "1.5"))
def init_file(words: Sequence[str]) -> dict[str, object]:
    """Read ``init_file [N] [overwrite]``."""
    values: dict[str, object] = {}
    for index, word in enumerate(words[1:], 1):
        if word == "overwrite":
            values["overwrite"] = True
        else:
            values["value"] = to_signed(word, index, -(2**31), 2**31 - 1)
    return values


@typed(Kind.WORDS, ("eth0 0 3",), ("eth0", "eth0 x", "eth0 0 256"))
def link_delay(words: Sequence[str]) -> dict[str, object]:
    """Read an entry ``INTERFACE DOWN [UP]`` of ``interface_up_down_delays``."""
    if len(words) not in {2, 3}:
        message = f"'{words[0]}' needs one or two times in seconds"
        raise BadValueError(0, message, "the form is: INTERFACE DOWN [UP]")
    read = v.seconds(zero=True, high=255)
    try:
        down = read(words)
        up = read(words[1:]) if len(words) > 2 else down
    except BadValueError as bad:
        at = next(index for index in range(1, len(words)) if words[index] in bad.message)
        raise BadValueError(at, bad.message, bad.hint) from None
    return {"interface": to_device(words[0], 0), "down": down, "up": up}


@typed(Kind.SECONDS, ("0", "0.001"), ("2s", "-1", "1e3"), low=0, unit="s")
def interval(words: Sequence[str]) -> float:
    """Read the spacing of announcements; 0 is off, though keepalived has a message for it."""
    value = v.seconds(zero=True)(words)
    assert isinstance(value, float)
    return value
