import pytest

from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult, Url
from lvskeeper.units import parse_address

TCP = CheckSpec(CheckKind.TCP, parse_address("192.0.2.1"), 80)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (CheckSpec(TCP.kind, TCP.address, 80, delay_loop=1, retry=9, warmup=3), True),
        (CheckSpec(TCP.kind, TCP.address, 80, connect_timeout=1, delay_before_retry=9), True),
        (CheckSpec(TCP.kind, TCP.address, 80, alpha=True), True),
        (CheckSpec(TCP.kind, TCP.address, 81), False),
        (CheckSpec(TCP.kind, parse_address("192.0.2.2"), 80), False),
        (CheckSpec(CheckKind.HTTP, TCP.address, 80), False),
        (CheckSpec(CheckKind.HTTP, TCP.address, 80, urls=(Url("/x"),)), False),
    ],
)
def test_target_ignores_times_only(other: CheckSpec, same: bool) -> None:
    assert (TCP.target == other.target) is same


def test_str_is_what_operators_know() -> None:
    assert str(TCP) == "TCP_CHECK 192.0.2.1:80"
    assert str(CheckSpec(CheckKind.HTTP, parse_address("::1"), 80)) == "HTTP_GET [::1]:80"


def test_longest_counts_every_request() -> None:
    assert TCP.longest == 5
    urls = (Url("/a"), Url("/b"))
    assert CheckSpec(CheckKind.HTTP, TCP.address, 80, connect_timeout=2, urls=urls).longest == 4


@pytest.mark.parametrize("phase", Phase)
def test_only_done_is_ok(phase: Phase) -> None:
    assert ProbeResult(phase).ok is (phase is Phase.DONE)
