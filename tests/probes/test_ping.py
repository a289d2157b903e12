"""PING_CHECK in a network namespace of its own, where who may ping can be said."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.fullnat_net import empty_namespace, run
from support.probing import probed

from lvskeeper.daemon.ping_range import allow_ping
from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, Source
from lvskeeper.kernel.sysctls import State
from lvskeeper.observe import events
from lvskeeper.probes.ping import PingQuestion
from lvskeeper.units import parse_address

RANGE = Path("/proc/sys/net/ipv4/ping_group_range")

root = pytest.mark.root


@pytest.fixture
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up; ip route add unreachable 192.0.2.0/24")
        yield


def ping(host: str, *, limit: float = 5.0) -> CheckSpec:
    return CheckSpec(CheckKind.PING, parse_address(host), 0, connect_timeout=limit)


@root
@pytest.mark.asyncio
@pytest.mark.usefixtures("namespace")
async def test_who_answers_is_well_and_who_does_not_is_not() -> None:
    assert allow_ping(set_allowed=True).state is State.SET
    for host in ("127.0.0.1", "::1"):
        result = await probed(ping(host))
        assert (result.phase, result.detail) == (Phase.DONE, "")
    source = Source(parse_address("127.0.0.9"), interface="lo", mark=3)
    assert (await probed(replace(ping("127.0.0.1"), source=source))).ok
    result = await probed(ping("192.0.2.1"))
    assert (result.phase, result.detail) == (Phase.CONNECT, "no route to host")
    run("echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all")
    result = await probed(ping("127.0.0.1", limit=0.2))
    assert (result.phase, result.detail) == (
        Phase.TIMEOUT, "timed out after 200 ms while waiting for the answer",
    )  # fmt: skip


@root
@pytest.mark.asyncio
@pytest.mark.usefixtures("namespace")
async def test_without_the_right_to_ping_nothing_is_said_of_the_server() -> None:
    run(f"echo 5 9 > {RANGE}")
    for host in ("127.0.0.1", "::1"):
        result = await probed(ping(host))
        assert (result.phase, result.detail) == (
            Phase.INTERNAL, "net.ipv4.ping_group_range leaves our group out",
        )  # fmt: skip


@root
@pytest.mark.usefixtures("namespace")
def test_our_group_is_put_into_the_range_where_that_is_allowed() -> None:
    RANGE.write_text("5 9\n")
    found = allow_ping(set_allowed=False)
    assert found.state is State.WRONG
    assert isinstance(found.event, events.SysctlWrong)
    assert (found.event.value, found.event.wanted) == ("5 9", "0 9")
    found = allow_ping(set_allowed=True)
    assert isinstance(found.event, events.SysctlSet)
    assert RANGE.read_text().split() == ["0", "9"]
    assert allow_ping(set_allowed=True).event is None
    RANGE.write_text("1 0\n")
    allow_ping(set_allowed=True)
    assert RANGE.read_text().split() == ["0", "0"]


def test_a_range_that_cannot_be_read_or_written_is_a_finding(tmp_path: Path) -> None:
    assert allow_ping(set_allowed=True, root=tmp_path).state is State.MISSING


def test_only_the_echo_is_the_answer() -> None:
    for ipv6, reply in ((False, 0), (True, 129)):
        question = PingQuestion(b"token", ipv6=ipv6)
        asked = question.ask()
        good = bytes((reply,)) + asked[1:]
        assert question.answer(good)
        for other in (asked, good[:-1], good + b"x", b"", bytes((3,)) + asked[1:]):
            assert not question.answer(other)
