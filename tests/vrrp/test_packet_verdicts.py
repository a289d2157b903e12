"""Our verdict on a packet is keepalived's, reason and order of the tests included."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from lvskeeper.units import parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.validate import (
    Accepted,
    NoteKind,
    Peer,
    Reject,
    RejectKind,
    Rules,
    received_ipv4,
    validate,
)

VERDICTS = Path(__file__).parents[1] / "golden" / "vrrp" / "verdicts.jsonl"

PHRASES = {
    "packet too short": RejectKind.LENGTH,
    "packet too long": RejectKind.LENGTH,
    "invalid TTL/HL": RejectKind.TTL,
    "wrong version": RejectKind.VERSION,
    "Invalid auth type": RejectKind.AUTH_TYPE,
    "received a 0 auth, expecting 1": RejectKind.AUTH_MISMATCH,
    "invalid passwd": RejectKind.AUTH_FAILURE,
    "invalid IPSEC HMAC-MD5 value": RejectKind.AUTH_FAILURE,
    "invalid IPSEC SPI value": RejectKind.AUTH_FAILURE,
    "already processed": RejectKind.REPLAY,
    "advertisement interval mismatch": RejectKind.INTERVAL,
    "Invalid packet type": RejectKind.TYPE,
    "Invalid VRRPv2 checksum": RejectKind.CHECKSUM,
    "Invalid VRRPv3 checksum": RejectKind.CHECKSUM,
    "Setting unicast VRRPv3 checksum to old version": NoteKind.OLD_CHECKSUM,
    "interval updated from 10000ms to 20000ms": NoteKind.INTERVAL,
    "interval updated from 20000ms to 10000ms": None,
}
"""What keepalived logs, and what we call it; nothing for its own change of mind."""

VERSION_2 = Rules(version=2, vrid=51, interval=10.0, addresses=(parse_address("192.0.2.100"),))
VERSION_3 = replace(VERSION_2, version=3)
RULES = {
    "password": replace(VERSION_2, auth=Authentication(AuthKind.PASS, b"s3cret")),
    "signed": replace(VERSION_2, auth=Authentication(AuthKind.AH, b"s3cret")),
    "version 3": VERSION_3,
    "unicast": replace(VERSION_3, peers=(Peer(parse_address("192.0.2.2")),)),
}


@dataclass(frozen=True)
class Verdict:
    """One packet, and what keepalived made of it."""

    case: str
    packet: bytes
    meaning: RejectKind | NoteKind | None


@cache
def verdicts(instance: str) -> tuple[Verdict, ...]:
    found = []
    for line in map(json.loads, VERDICTS.read_text().splitlines()):
        if line["instance"] == instance:
            said = " ".join(line["said"])
            meanings = [PHRASES[phrase] for phrase in PHRASES if phrase in said]
            assert len(meanings) == bool(said), said
            packet = bytes.fromhex(line["hex"])
            found.append(Verdict(line["case"], packet, meanings[0] if meanings else None))
    return tuple(found)


def test_keepalived_said_all_that_we_translate() -> None:
    said = {verdict.meaning for name in RULES for verdict in verdicts(name)}
    assert said == set(PHRASES.values())


@pytest.mark.parametrize("instance", RULES)
def test_our_verdict_is_keepalived_s(instance: str) -> None:
    sequence = 0
    for verdict in verdicts(instance):
        received = received_ipv4(verdict.packet)
        got = (
            received
            if isinstance(received, Reject)
            else validate(received, RULES[instance], sequence=sequence)
        )
        if isinstance(got, Accepted):
            doubts = [note.kind for note in got.notes]
            assert doubts == ([verdict.meaning] if verdict.meaning else []), verdict.case
            sequence = got.sequence or 0
        else:
            assert verdict.meaning is got.kind, verdict.case
