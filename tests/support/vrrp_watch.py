"""What tshark says of all that was seen on a link."""

from collections.abc import Callable, Iterable
from typing import Final

from support.tshark import HAS_TSHARK, Packet, decode_frames
from support.vrrp_lan import Frame

from lvskeeper.vrrp.validate import Received

_MALFORMED: Final = "_ws.malformed"


def check_frames(
    frames: Iterable[Frame],
    expected: Callable[[str, int], tuple[str, int]],
    *,
    trailers: bool = False,
) -> None:
    """Have every frame checked that differs from those before it in more than its IP id.

    *expected* says from which MAC and with which TTL a host's adverts of a VRID come. Without
    tshark there is nobody to ask. What it says of checksums does not count with *trailers*: it
    takes them for a part of the message.
    """
    if not HAS_TSHARK:
        return
    kinds = {(frame.host, _essence(frame.data)): frame for frame in frames}
    seen = [*kinds.values()]
    read = decode_frames(frame.data for frame in seen)
    assert len(read) == len(seen)
    for frame, found in zip(seen, read, strict=True):
        layers = found.layers if isinstance(found, Packet) else found
        assert _MALFORMED not in layers, (frame, found)
        if isinstance(frame.what, Received):
            assert isinstance(found, Packet), (frame, found)
            assert found.good or trailers, (frame, found)
            assert (found.mac, found.ttl) == expected(frame.host, frame.what.vrid), (frame, found)


def _essence(frame: bytes) -> bytes:
    """Return *frame* without the id and the checksum of its IPv4 header."""
    if frame[12:14] != b"\x08\x00":
        return frame
    return frame[:18] + frame[20:24] + frame[26:]
