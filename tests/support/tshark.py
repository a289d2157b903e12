"""tshark as a second reader of adverts, of packets that we hand it or of a live link."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, final

from lvskeeper.lab.netns import Namespace
from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.types import Advert

HAS_TSHARK: Final = shutil.which("tshark") is not None
PATIENCE: Final = 15.0
"""Seconds that tshark may take."""
ADVERTS: Final = "ip proto 112 or ip proto 51 or ip6 proto 112"
"""Capture filter."""

_FILE: Final = Struct("=IHHiIII")
"""Header of a pcap file."""
_ETHERNET, _RAW = 1, 101
"""Its link types: whole frames, and packets that begin with the IP header."""
_RECORD: Final = Struct("=IIII")
_AS_JSON: Final = ("-T", "json", "--no-duplicate-keys", "-Y", "vrrp")


@final
@dataclass(frozen=True)
class Packet:
    """What tshark makes of a packet."""

    advert: Advert
    source: Address
    ttl: int
    good: bool
    """The checksum is right."""
    mac: str
    """Source address of its frame; nothing where there was no frame."""
    layers: tuple[str, ...]
    """The protocols that it found, down from the frame."""


def decode(packets: Iterable[bytes]) -> list[Packet]:
    """Return what tshark reads in *packets*, which begin with the IP header."""
    return [_packet(layers) for layers in _read(_RAW, packets, *_AS_JSON)]


def decode_frames(frames: Iterable[bytes]) -> list[Packet | tuple[str, ...]]:
    """Return what tshark reads in Ethernet *frames*: of what is no advert the names of layers."""
    return [
        _packet(layers) if "vrrp" in layers else tuple(layers)
        for layers in _read(_ETHERNET, frames, "-T", "json", "--no-duplicate-keys")
    ]


def _read(link: int, packets: Iterable[bytes], *options: str) -> list[Mapping[str, Any]]:
    head = _FILE.pack(0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, link)
    capture = head + b"".join(_RECORD.pack(0, 0, len(p), len(p)) + p for p in packets)
    done = subprocess.run(
        ["tshark", "-r", "-", *options],
        input=capture, capture_output=True, timeout=4 * PATIENCE, check=True,
    )  # fmt: skip
    return _layers(done.stdout)


def listen(host: Namespace, device: str, count: int) -> list[Packet]:
    """Return the next *count* adverts on *device* in *host*, fewer where none come any more."""
    done = host.run(
        ["tshark", "-i", device, "-f", ADVERTS, "-c", str(count), "-a", f"duration:{PATIENCE:.0f}",
         *_AS_JSON],
        timeout=2 * PATIENCE,
    )  # fmt: skip
    return [_packet(layers) for layers in _layers(done.stdout.encode())]


def _layers(output: bytes) -> list[Mapping[str, Any]]:
    return [found["_source"]["layers"] for found in json.loads(output)]


def _packet(layers: Mapping[str, Any]) -> Packet:
    vrrp = layers["vrrp"]
    version = int(vrrp["vrrp.typever_tree"]["vrrp.version"])
    if version == 2:
        interval = float(vrrp["vrrp.adver_int"])
    else:
        interval = int(vrrp["vrrp.short_adver_int"]) / 100
    found = vrrp.get("vrrp.ip_addr", vrrp.get("vrrp.ipv6_addr", []))
    addresses = tuple(
        parse_address(text) for text in ([found] if isinstance(found, str) else found)
    )
    six = layers.get("ipv6")
    return Packet(
        Advert(version, int(vrrp["vrrp.virt_rtr_id"]), int(vrrp["vrrp.prio"]), interval, addresses),
        parse_address(six["ipv6.src"] if six else layers["ip"]["ip.src"]),
        int(six["ipv6.hlim"] if six else layers["ip"]["ip.ttl"]),
        vrrp["vrrp.checksum.status"] == "1",
        layers.get("eth", {}).get("eth.src", ""),
        tuple(layers),
    )
