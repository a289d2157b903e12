"""The end of a certificate's validity, read from its DER (RFC 5280, section 4.1).

Python's ``ssl`` tells it of verified certificates only.
"""

import calendar
import re
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_LONG: Final = 0x80
_MAX_LENGTH_BYTES: Final = 3
_BEFORE_VALIDITY: Final = 3
"""Serial number, signature algorithm and issuer."""
_TIME: Final = re.compile(rb"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z")


def not_after(certificate: bytes) -> float | None:
    """Return the last second of validity, since 1970; ``None`` where there is none to be read."""
    try:
        signed, _ = _element(_content(certificate, _SEQUENCE)[0])
        at = signed
        if at[:1] == bytes((_VERSION,)):
            at = _element(at)[1]
        for _ in range(_BEFORE_VALIDITY):
            at = _element(at)[1]
        validity, _ = _content(at, _SEQUENCE)
        end = _element(validity)[1]
        return _seconds(end[0], _element(end)[0])
    except (IndexError, ValueError):
        return None


def _content(data: bytes, tag: int) -> tuple[bytes, bytes]:
    if data[0] != tag:
        raise ValueError("another element")
    return _element(data)


def _element(data: bytes) -> tuple[bytes, bytes]:
    """Return the content of the first element of *data*, and what follows it."""
    length, start = data[1], 2
    if length & _LONG:
        count = length - _LONG
        if not 0 < count <= _MAX_LENGTH_BYTES:
            raise ValueError("a length that no certificate has")
        start += count
        length = int.from_bytes(data[2:start])
    if start + length > len(data):
        raise ValueError("it breaks off")
    return data[start : start + length], data[start + length :]


def _seconds(tag: int, text: bytes) -> float:
    found = _TIME.fullmatch(text)
    if found is None or tag != (_UTC_TIME if len(found[1]) == 2 else _GENERALIZED_TIME):
        raise ValueError("no time")
    year, *rest = map(int, found.groups())
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    return float(calendar.timegm((year, *rest)))
