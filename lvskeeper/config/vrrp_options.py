"""Readers of VRRP keywords with several words: virtual devices, keys, the sync daemon."""

import re
from collections.abc import Sequence
from typing import Final

from lvskeeper.config import values as v
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.numbers import to_address, to_int
from lvskeeper.config.value_type import Kind, typed
from lvskeeper.config.vrrp_values import UNFILLED, device, multicast, to_device, to_name

_MAC: Final = r"\A[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}\Z"
_NO_GROUP: Final = "leave 'group' and its value out"


def _options(
    words: Sequence[str], start: int, known: dict[str, v.Reader], form: str
) -> dict[str, object]:
    values: dict[str, object] = {}
    for index in range(start, len(words), 2):
        word = words[index]
        if word not in known:
            raise BadValueError(index, f"'{word}' has no meaning here", form)
        if index + 1 == len(words):
            raise BadValueError(index, f"'{word}' needs a value", form)
        values[word] = v.read_from(words, index, known[word])
    return values


_SYNC: Final[dict[str, v.Reader]] = {
    "inst": v.text,
    "id": v.integer(0, 255),
    "maxlen": v.integer(1, 65_507),
    "port": v.integer(1, 65_535),
    "ttl": v.integer(1, 255),
    "group": multicast,
}


@typed(
    Kind.WORDS,
    ("eth0", "eth0 VI id 7 maxlen 1400 port 8848 ttl 2 group 224.0.0.81"),
    ("a/b", "eth0 id", "eth0 id 256", "eth0 group 192.0.2.1"),
)
def sync_daemon(words: Sequence[str]) -> dict[str, object]:
    """Read ``INTERFACE [INSTANCE] [inst I] [id N] [maxlen N] [port N] [ttl N] [group A]``."""
    values: dict[str, object] = {"interface": device(words)}
    start = 2
    if len(words) > 2 and words[2] not in _SYNC:
        values["inst"] = to_name(words[2], 2)
        start = 3
    form = "INTERFACE [INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]"
    return {**values, **_options(words, start, _SYNC, f"the form is: {form}")}


@typed(Kind.WORDS, ("", "v0", "name v0 2:0:0:0:0:a"), ("name", "v0 v1", "a/b", "v0 group 3"))
def vmac(words: Sequence[str]) -> dict[str, object]:
    """Read ``use_vmac [[name] DEVICE] [MAC] [netlink_notify_msg]``."""
    values: dict[str, object] = {}
    index = 1
    while index < len(words):
        word = words[index]
        if word == "group":
            raise BadValueError(index, "a group of devices is not served", _NO_GROUP)
        if re.match(_MAC, word):
            values["mac"] = bytes(int(part, 16) for part in word.split(":"))
        elif word != "netlink_notify_msg":
            index = _device_name(words, index, values)
        index += 1
    return values


@typed(Kind.WORDS, ("", "private name v0 192.0.2.9/24"), ("v0 v1", "192.0.2.9/33", "group 3"))
def ipvlan(words: Sequence[str]) -> dict[str, object]:
    """Read ``use_ipvlan [bridge|private|vepa] [[name] DEVICE] [ADDRESS[/LENGTH]]``."""
    values: dict[str, object] = {}
    index = 1
    while index < len(words):
        word = words[index]
        if word == "group":
            raise BadValueError(index, "a group of devices is not served", _NO_GROUP)
        if word in {"bridge", "private", "vepa"} and "mode" not in values:
            values["mode"] = word
        elif "/" in word or ":" in word or re.fullmatch(r"[0-9.]+\.[0-9.]+", word):
            head, slash, length = word.partition("/")
            values["address"] = address = to_address(head, index)
            most = len(address) * 8
            values["prefix"] = to_int(length, index, 1, most, "a prefix length") if slash else most
        else:
            index = _device_name(words, index, values)
        index += 1
    return values


def _device_name(words: Sequence[str], index: int, values: dict[str, object]) -> int:
    if words[index] == "name":
        index += 1
        if index == len(words):
            raise BadValueError(index - 1, "'name' needs the name of a device")
    if "name" in values:
        raise BadValueError(index, f"'{words[index]}' has no meaning here")
    values["name"] = to_device(words[index], index)
    return index


@typed(
    Kind.WORDS, ("1 " + "k" * 40, "1 hex:" + "0a" * 32), ("1", "0 k", "256 k", "1 hex:0", "1 file:")
)
def hmac_key(words: Sequence[str]) -> dict[str, object]:
    """Read ``key ID VALUE``, where VALUE may be ``hex:DIGITS`` or ``file:PATH``."""
    values: dict[str, object] = {"id": to_int(words[1], 1, 1, 255)}
    kind, colon, rest = words[2].partition(":")
    if colon and kind == "hex":
        try:
            return {**values, "secret": bytes.fromhex(rest)}
        except ValueError:
            message = "what follows hex: is not hexadecimal"
            raise BadValueError(2, message, "two digits for each byte") from None
    if colon and kind == "file":
        if not rest:
            raise BadValueError(2, "file: needs the path of a file")
        return {**values, "file": rest}
    if re.fullmatch(UNFILLED, words[2]):
        raise BadValueError(2, "the value is a placeholder")
    return {**values, "secret": words[2].encode()}
