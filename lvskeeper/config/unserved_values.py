"""Readers of keywords that are known and not acted on: what they say is judged all the same."""

import re
from collections.abc import Sequence
from typing import Final

from lvskeeper.config import values as v
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.numbers import to_int, to_range
from lvskeeper.config.value_type import Kind, typed

_MASK: Final = re.compile(r"0[0-7]{1,3}|[0-7]{1,3}")
_BITS: Final = frozenset(f"I{bit}{who}" for bit in "RWX" for who in ("USR", "GRP", "OTH"))
_RANGE: Final = re.compile(r"[0-9a-fA-F.:]+(?:-[0-9a-fA-F.:]+)?")
_TIMEOUT: Final = 2_678_400
"""Seconds, 31 days: the longest that IPVS takes."""


@typed(Kind.WORDS, ("tcp 900", "tcp 900 tcpfin 120 udp 300"), ("900", "tcp", "tcp x", "icmp 3"))
def timeouts(words: Sequence[str]) -> dict[str, int]:
    """Read ``lvs_timeouts [tcp N] [tcpfin N] [udp N]``."""
    values: dict[str, int] = {}
    for index in range(1, len(words), 2):
        name = words[index]
        if name not in {"tcp", "tcpfin", "udp"}:
            raise BadValueError(index, f"'{name}' has no meaning here", "tcp, tcpfin or udp")
        if index + 1 == len(words):
            raise BadValueError(index, f"'{name}' needs a time in seconds")
        values[name] = to_int(words[index + 1], index + 1, 1, _TIMEOUT)
    return values


@typed(Kind.WORDS, ("MTU", "ADVERT", "4096"), ("mtus", "-1"))
def buffer_policy(words: Sequence[str]) -> str | int:
    """Read ``vrrp_rx_bufs_policy MTU|ADVERT|N``."""
    if words[1].upper() in {"MTU", "ADVERT"}:
        return words[1].upper()
    return to_int(words[1], 1, 0, 2**32 - 1, "MTU, ADVERT or a number of bytes")


@typed(Kind.WORDS, ("022", "0177", "IRUSR|IWUSR IXOTH"), ("9", "8999", "RWX", "IRUSR|"))
def umask(words: Sequence[str]) -> str:
    """Read a mask in octal, or the names of its bits."""
    word = words[1]
    bits = "|".join(words[1:]).split("|")
    if not _MASK.fullmatch(word) and not _BITS.issuperset(bits):
        raise BadValueError(1, f"'{word}' is not a mask", "such as 022, or IWGRP|IWOTH")
    return word


@typed(Kind.CHOICE, ("", "MII", "ETHTOOL", "IOCTL"), ("SNMP",), choices=("MII", "ETHTOOL", "IOCTL"))
def _poll(words: Sequence[str]) -> str:
    return str(v.choice("MII", "ETHTOOL", "IOCTL")(words)) if len(words) > 1 else ""


@typed(Kind.WORDS, ("eth0", "eth0 MII"), ("a/b", "eth0 SNMP"))
def polled_link(words: Sequence[str]) -> tuple[str, str]:
    """Read an entry ``INTERFACE [MII|ETHTOOL|IOCTL]`` of ``linkbeat_interfaces``."""
    from lvskeeper.config.vrrp_values import to_device  # noqa: PLC0415 - seldom needed

    return to_device(words[0], 0), _poll(words)


@typed(Kind.WORDS, ("192.0.2.1", "192.0.2.1-9", "ipset:bad"), ("host", "192.0.2.9-1", "ipset:"))
def listed_address(words: Sequence[str]) -> str:
    """Read an entry ``ADDRESS[-LAST]`` or ``ipset:NAME`` of DPVS's address lists."""
    word = words[0]
    if word.startswith("ipset:"):
        if word == "ipset:":
            raise BadValueError(0, "ipset: needs the name of a set")
        return word
    to_range(word, 0)
    return word


@typed(Kind.WORDS, ("192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9:1-1023"), ("host-x", "192.0.2.1:"))
def match_range(words: Sequence[str]) -> str:
    """Read ``FIRST-LAST[:PORT-PORT]``, as DPVS's SNAT services match by."""
    addresses, colon, ports = words[1].partition(":")
    if words[1].count(":") > 1:
        addresses, colon, ports = words[1], "", ""
    if not _RANGE.fullmatch(addresses):
        raise BadValueError(1, f"'{words[1]}' is not a range of addresses", "192.0.2.1-192.0.2.9")
    if colon:
        for port in ports.split("-"):
            to_int(port, 1, 0, 65_535, "a port number")
    return words[1]


@typed(Kind.TEXT, ("", "name"), ('""', "${X}"))
def name(words: Sequence[str]) -> str:
    """Read a name, or nothing."""
    return v.text(words) if len(words) > 1 else ""


@typed(Kind.WORDS, ("INPUT", "INPUT OUTPUT"), ('""', "${X}"))
def names(words: Sequence[str]) -> tuple[str, ...]:
    """Read one or more names."""
    return tuple(str(v.read_from(words, index, v.text)) for index in range(len(words) - 1))
