"""What is told of certificates that expire, and how often."""

import time

import pytest

from lvskeeper.daemon.expiry import DAY, MAX_CERTIFICATES, ExpiryWatch
from lvskeeper.health.pool import CheckId, Pool, Server
from lvskeeper.health.spec import CheckKind, CheckSpec, QuorumSpec, Tls
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe.events import CertificateExpires, Event
from lvskeeper.units import parse_address

ADDRESS = parse_address("192.0.2.1")
KEY = DestKey(ADDRESS, 443)
SPEC = CheckSpec(CheckKind.SSL, ADDRESS, 443, tls=Tls(expiry=30))
CHECK = CheckId(KEY, SPEC.target)
NOW = 1_800_000_000.0


def test_it_is_told_once_a_day_and_of_each_other_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Event] = []
    watch = ExpiryWatch(told.append)
    pools = {"web": Pool([Server(KEY, 1, (SPEC,))], QuorumSpec(), 0.0)}
    first = NOW + 29.5 * DAY
    for hours, expires in (
        (0, NOW + 30 * DAY + 1), (0, first), (1, first), (11, first), (13, first), (14, first),
        (14, first + DAY), (14, NOW + 400 * DAY), (15, first), (24 * 31, first), (24 * 40, first),
    ):  # fmt: skip
        monkeypatch.setattr(time, "time", lambda hours=hours: NOW + hours * 3600)
        watch.note("web", CHECK, expires)
        watch.follow(pools)
    days = [event.days for event in told if isinstance(event, CertificateExpires)]
    # Two days of the first, the other one, and on two days that the first is over.
    assert days == [29, 28, 29, -1, -1]
    assert isinstance(told[0], CertificateExpires)
    assert told[0].expires == "2027-02-13T20:00:00Z"
    watch.follow({})
    watch.note("web", CHECK, first)
    assert len(told) == 6


def test_a_server_that_shows_two_certificates_in_turn_is_told_of_once_a_day_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    told: list[Event] = []
    watch = ExpiryWatch(told.append)
    for _ in range(10):
        for days in (5, 9, 400):
            watch.note("web", CHECK, NOW + days * DAY)
    assert [event.days for event in told if isinstance(event, CertificateExpires)] == [5, 9]
    for days in range(1, 2000):
        watch.note("web", CHECK, NOW + days)
    assert len(watch._told[("web", CHECK)]) == MAX_CERTIFICATES
