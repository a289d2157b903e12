"""The nft client on this kernel, each test in a network namespace of its own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fullnat_net import empty_namespace, run

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.content import Content, differences
from lvskeeper.fullnat.defence import Defences
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import (
    GUARD_TABLE,
    KEEP,
    Ruleset,
    Source,
    changes,
    expected_content,
    render,
)
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.kernel import nft as nft_module
from lvskeeper.kernel.nft import Generation, Nft, refusal
from lvskeeper.kernel.nft_guard import Guard
from lvskeeper.units import Address, parse_address

pytestmark = pytest.mark.root

POOLS = (
    Pool.of("web", map(parse_address, ("10.0.0.10", "10.0.0.11", "fd00::10", "fd00::11"))),
    Pool.of("büro nord", map(parse_address, ("10.0.0.20", "::ffff:192.0.2.1"))),
)


def key(address: str, port: int, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    packed = parse_address(address)
    return ServiceKey(Family.of(packed), protocol, packed, port)


EVERY_KIND = Ruleset(
    POOLS,
    {
        key(address, port, protocol): Source(pool, ports)
        for address in ("198.51.100.1", "2001:db8:f::1", "::ffff:198.51.100.1")
        for port in (0, 80, 65535)
        for protocol in Protocol
        for pool in ("web", "büro nord")
        for ports in (None, (5000, 65535))
    }
    | {
        ServiceKey(family, Protocol.TCP, fwmark=mark): Source("web")
        for family in Family
        for mark in (1, 2**32 - 1)
    }
    | {
        key("198.51.100.2", 22): KEEP,
        ServiceKey(Family.INET, Protocol.TCP, fwmark=77): KEEP,
    },
    Cookies(
        {
            key("198.51.100.1", 80): SynProxy(1460),
            key("198.51.100.2", 0): SynProxy(536, 0, timestamp=False),
            key("2001:db8:f::1", 80): SynProxy(1440, 14, sack=False),
            key("2001:db8:f::2", 0): SynProxy(65535, timestamp=False, sack=False),
        },
        frozenset({key("198.51.100.2", 22)}),
    ),
    Defences.of(
        [key("198.51.100.2", 22), ServiceKey(Family.INET, Protocol.TCP, fwmark=77)],
        strays=[key("198.51.100.1", 80), key("198.51.100.2", 0), key("2001:db8:f::1", 80)],
        closed=map(parse_address, ("198.51.100.1", "2001:db8:f::1")),
        udp=map(parse_address, ("198.51.100.1", "2001:db8:f::1")),
        fragments=map(parse_address, ("198.51.100.1", "2001:db8:f::1")),
    ),
)


@pytest.fixture
def nft() -> Iterator[Nft]:
    with empty_namespace():
        client = Nft()
        yield client
        client.close()


async def drift(nft: Nft, ruleset: Ruleset) -> tuple[str, ...]:
    expected = expected_content(ruleset)
    actual = await nft.read()
    if expected is None:
        return () if actual is None else ("the table is there",)
    return differences(expected, actual)


@pytest.mark.asyncio
async def test_every_statement_is_accepted_applied_and_read_back(nft: Nft) -> None:
    await nft.check(render(EVERY_KIND))
    assert await nft.read() is None
    await nft.apply(render(EVERY_KIND))
    assert await drift(nft, EVERY_KIND) == ()
    await nft.apply(render(Ruleset()))
    assert await nft.read() is None
    await nft.apply(render(Ruleset()))


addresses = st.one_of(
    st.binary(min_size=4, max_size=4).map(Address), st.binary(min_size=16, max_size=16).map(Address)
)
endpoints = st.builds(
    lambda address, protocol, port: ServiceKey(Family.of(address), protocol, address, port),
    addresses,
    st.sampled_from(Protocol),
    st.integers(0, 65535),
)
marks = st.builds(
    ServiceKey, st.sampled_from(Family), st.just(Protocol.TCP), fwmark=st.integers(1, 2**32 - 1)
)
SOURCES = (Source("web"), Source("büro nord"), Source("büro nord", (5000, 5999)), KEEP)
promises = st.sampled_from([SynProxy(1460), SynProxy(1440, 9, timestamp=False)])
tcp_services = st.sampled_from([key("198.51.100.1", 80), key("198.51.100.1", 0), key("::1", 443)])
cookies = st.builds(
    Cookies,
    st.dictionaries(tcp_services, promises),
    serverless=st.frozensets(tcp_services),
    hooked=st.booleans(),
    strip=st.booleans(),
)
chosen_addresses = st.sets(st.sampled_from([parse_address("198.51.100.1"), parse_address("::1")]))
defences = st.builds(
    lambda strays, closed, udp, fragments: Defences.of(
        [key("198.51.100.1", 22)], strays=strays, closed=closed, udp=udp, fragments=fragments
    ),
    st.sets(tcp_services),
    chosen_addresses,
    chosen_addresses,
    chosen_addresses,
)
rulesets = st.builds(
    Ruleset,
    st.just(POOLS),
    st.dictionaries(st.one_of(endpoints, marks), st.sampled_from(SOURCES), max_size=8),
    cookies,
    defences,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(rulesets, min_size=2, max_size=4))
def test_changes_lead_from_any_ruleset_to_any_other(nft: Nft, steps: list[Ruleset]) -> None:
    async def walk() -> None:
        await nft.apply(render(steps[0]))
        for old, new in pairwise(steps):
            if text := changes(old, new):
                await nft.apply(text)
            assert await drift(nft, new) == ()

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("flush ruleset", "the table is missing"),
        ("flush chain inet lvskeeper lip4.web", "the rules of chain lip4.web were changed"),
        ("add chain inet lvskeeper evil", "chain evil is not ours"),
        (
            "delete element inet lvskeeper port4 { tcp . 198.51.100.1 . 80 }",
            "tcp 198.51.100.1:80 is missing",
        ),
        (
            "add element inet lvskeeper mark4 { 9 : goto lip4.web }",
            "fwmark 9 is not wanted",
        ),
        (
            "add element inet lvskeeper mark4 { 9 : drop }",
            'element mark4 [9, {"drop": null}] is not ours',
        ),
        (
            (
                "flush chain inet lvskeeper syn4.1460-7-timestamp-sack-perm; "
                "add rule inet lvskeeper syn4.1460-7-timestamp-sack-perm synproxy mss 1400 wscale 7"
            ),
            "the rules of chain syn4.1460-7-timestamp-sack-perm were changed",
        ),
        (
            "delete element inet lvskeeper cookie_port4 { 198.51.100.1 . 80 }",
            "tcp 198.51.100.1:80 is missing in the set behind SYN cookies",
        ),
        (
            "add element inet lvskeeper syn_port4 { 198.51.100.9 . 80 : accept }",
            "tcp 198.51.100.9:80 is not wanted in the map of SYN cookies",
        ),
        (
            (
                "flush chain inet lvskeeper unserved; "
                "add rule inet lvskeeper unserved counter name dropped_unserved accept"
            ),
            "the rules of chain unserved were changed",
        ),
        (
            "add element inet lvskeeper fragment4 { 198.51.100.9 }",
            "tcp 198.51.100.9:0 is not wanted in the defence against fragments",
        ),
        ("add set inet lvskeeper evil { type ipv4_addr; }", "set evil is not ours"),
        ("add rule inet lvskeeper post snat ip to 1.2.3.4", "the rules of chain post were changed"),
    ],
)
@pytest.mark.asyncio
async def test_foreign_changes_show_in_generation_and_content(
    nft: Nft, command: str, found: str
) -> None:
    known = await nft.apply(render(EVERY_KIND))
    assert nft.generation() == known
    run(f"nft '{command}'")
    assert nft.generation() == known + 1
    assert await drift(nft, EVERY_KIND) == (found,)
    assert await nft.apply(render(EVERY_KIND)) == nft.generation()
    assert await drift(nft, EVERY_KIND) == ()


@pytest.mark.asyncio
async def test_apply_by_the_program_does_not_hide_a_transaction_of_somebody_else(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nft_module, "SMALL_TEXT", 0)
    original = nft._run

    async def interleaved(arguments: tuple[str, ...], data: bytes) -> tuple[int, bytes, str]:
        run("nft add table inet foreign")
        return await original(arguments, data)

    monkeypatch.setattr(nft, "_run", interleaved)
    assert await nft.apply(render(EVERY_KIND)) < nft.generation()


@pytest.mark.asyncio
async def test_a_refused_transaction_changes_nothing_and_names_its_line(nft: Nft) -> None:
    known = await nft.apply(render(EVERY_KIND))
    text = "delete table inet lvskeeper\nadd rule inet other post accept\n"
    with pytest.raises(OperatorError) as raised:
        await nft.apply(text)
    assert raised.value.status is ExitStatus.KERNEL
    assert raised.value.message.startswith("nft refused line 2: ")
    assert raised.value.message.endswith(": add rule inet other post accept")
    assert nft.generation() == known
    assert await drift(nft, EVERY_KIND) == ()


def test_a_mark_that_has_a_name_on_this_machine_is_known_again(tmp_path: Path) -> None:
    (tmp_path / "rt_marks").write_text("77 web\n")
    marked = replace(EVERY_KIND, services={ServiceKey(Family.INET, Protocol.TCP, fwmark=77): KEEP})
    look = (
        "import asyncio; from lvskeeper.kernel.nft import Nft;"
        "print(asyncio.run(Nft().read()).foreign)"
    )
    with empty_namespace():
        run("nft -f -", data=render(marked))
        named = f"mount --bind {tmp_path} /etc/iproute2 && {sys.executable} -c '{look}'"
        seen = run(f'unshare -m sh -c "{named}"')
    assert seen == "()\n"


@pytest.mark.asyncio
async def test_a_run_of_nft_has_a_deadline(nft: Nft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_module, "SMALL_TEXT", 0)
    monkeypatch.setattr(nft_module, "NFT_DEADLINE", 0.001)
    with pytest.raises(OperatorError, match="nft did not answer"):
        await nft.apply(render(EVERY_KIND))


@pytest.mark.parametrize(
    ("errors", "status", "message"),
    [
        (
            "/dev/stdin:1:1-9: Error: Could not process rule: Operation not permitted\nadd x\n",
            ExitStatus.PERMISSION,
            "nft refused line 1: Could not process rule: Operation not permitted: add x",
        ),
        (
            "/dev/stdin:1:1-9: Error: syntax error, unexpected reset\n",
            ExitStatus.UNSUPPORTED,
            "nft refused line 1: syntax error, unexpected reset: add x",
        ),
        ("", ExitStatus.KERNEL, "nft refused the ruleset: no reason given"),
    ],
)
def test_refusals(errors: str, status: ExitStatus, message: str) -> None:
    error = refusal(errors, "add x\n")
    assert (error.status, error.message) == (status, message)


def test_without_nft_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nft_module, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(OperatorError, match="install the nftables package"):
        Nft()


def test_without_privileges_the_generation_is_refused() -> None:
    code = (
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "from lvskeeper.kernel.nft import Generation\n"
        "try: Generation().read()\n"
        "except Exception as error: print(error.status.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "PERMISSION\n"


def test_generation_counts_transactions_of_this_namespace() -> None:
    with empty_namespace():
        generation = Generation()
        first = generation.read()
        run("nft add table inet a; nft delete table inet a")
        assert generation.read() == first + 2
        generation.close()


def test_guard_outlives_a_flush_and_goes_with_its_holder() -> None:
    with empty_namespace():
        with Guard() as guard:
            guard.hold()
            run("nft add table inet foreign; nft flush ruleset")
            assert run("nft list tables").split() == ["table", "inet", GUARD_TABLE]
            with pytest.raises(OperatorError, match="another director") as raised:
                Guard().hold()
            assert raised.value.status is ExitStatus.KERNEL
        assert run("nft list tables") == ""
        with guard:
            assert GUARD_TABLE in run("nft list tables")
        assert not guard.held


def test_guard_goes_when_its_process_is_killed() -> None:
    code = (
        "import os; from lvskeeper.kernel.nft_guard import Guard; Guard().hold()\n"
        "os.kill(os.getpid(), 9)"
    )
    with empty_namespace():
        done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
        assert done.returncode == -9
        with Guard() as guard:
            assert guard.held


def test_without_libnftables_the_guard_is_refused() -> None:
    with pytest.raises(OperatorError, match="no guard table") as raised:
        Guard("libnftables.so.none").hold()
    assert "install libnftables1" in raised.value.hint
    assert raised.value.status is ExitStatus.UNSUPPORTED


@pytest.mark.asyncio
async def test_content_of_a_foreign_table_of_our_name_is_all_drift(nft: Nft) -> None:
    run("nft add table inet lvskeeper")
    assert await nft.read() == Content()
    assert len(await drift(nft, EVERY_KIND)) > len(EVERY_KIND.services)
