"""Transactions in this process, against the kernel and beside those of others."""

import asyncio
import os
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel import nft as nft_module
from lvskeeper.kernel.libnftables import Context
from lvskeeper.kernel.nft import SMALL_TEXT, Nft

pytestmark = pytest.mark.root

REMOVAL = "add table inet lvskeeper\ndelete table inet lvskeeper\n"
TABLE = (
    f"{REMOVAL}table inet lvskeeper {{\n"
    "\tmap m { type ipv4_addr . inet_service : verdict; }\n"
    "\tchain c { type filter hook forward priority 0; ip daddr . tcp dport vmap @m; }\n"
    "}\n"
)


@pytest.fixture
def nft() -> Iterator[Nft]:
    with empty_namespace():
        client = Nft()
        yield client
        client.close()


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def change(verb: str, number: int) -> str:
    verdict = " : accept" if verb == "add" else ""
    return (
        f"{verb} element inet lvskeeper m {{ 10.0.{number >> 8}.{number & 255} . 80{verdict} }}\n"
    )


def elements() -> set[str]:
    return set(re.findall(r"([\d.]+) \. 80 : accept", run("nft list map inet lvskeeper m")))


@pytest.mark.asyncio
async def test_a_thousand_element_changes_are_what_the_table_holds_and_what_memory_does_not(
    nft: Nft,
) -> None:
    await nft.apply(TABLE)
    wanted: set[int] = set()
    before = 0
    for step in range(1000):
        number = step * 7919 % 300
        verb = "delete" if number in wanted else "add"
        wanted ^= {number}
        assert await nft.apply(change(verb, number)) == nft.generation()
        if step == 200:
            before = resident()
    assert resident() - before < 2 << 20, "libnftables keeps what it makes"
    assert nft.in_process
    assert wanted
    assert elements() == {f"10.0.{number >> 8}.{number & 255}" for number in wanted}


@pytest.mark.asyncio
async def test_a_transaction_of_somebody_else_is_not_hidden(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A context keeps the namespace in which it was made, whatever thread uses it.
    foreign = partial(Context.run, Context())
    original = Context.run

    def interleaved(context: Context, text: str) -> str:
        foreign("add table inet foreign\n")
        return original(context, text)

    assert await nft.apply(TABLE) == nft.generation()
    with monkeypatch.context() as patch:
        patch.setattr(Context, "run", interleaved)
        assert await nft.apply(change("add", 1)) < nft.generation()
    assert await nft.apply(change("add", 2)) == nft.generation()
    assert elements() == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.asyncio
async def test_what_the_library_refuses_is_refused_by_the_program_which_names_the_line(
    nft: Nft,
) -> None:
    known = await nft.apply(TABLE)
    with pytest.raises(OperatorError) as raised:
        await nft.apply(change("add", 1) + change("delete", 2))
    assert raised.value.status is ExitStatus.KERNEL
    assert raised.value.message.startswith("nft refused line 2: ")
    assert nft.generation() == known
    assert await nft.apply(change("add", 3)) == nft.generation()
    assert nft.in_process
    assert elements() == {"10.0.0.3"}


@pytest.mark.asyncio
async def test_a_wait_has_a_deadline_and_leaves_nothing_in_use(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Context.run
    let_go = threading.Event()

    def slow(context: Context, text: str) -> str:
        let_go.wait(30)
        return original(context, text)

    with monkeypatch.context() as patch:
        patch.setattr(nft_module, "KILL_PATIENCE", 0.001)
        patch.setattr(nft_module, "NFT_DEADLINE", 0.001)
        patch.setattr(Context, "run", slow)
        with pytest.raises(OperatorError, match="the kernel did not answer"):
            await nft.apply(TABLE)
    await nft.apply(TABLE)
    let_go.set()
    await nft.apply(change("add", 1))
    assert nft.in_process


@pytest.mark.asyncio
async def test_a_change_that_is_called_off_comes_before_the_next_one(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Context.run
    inside = threading.Event()

    def slow(context: Context, text: str) -> str:
        inside.set()
        time.sleep(0.05)
        return original(context, text)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "run", slow)
        adding = asyncio.create_task(nft.apply(TABLE))
        assert await asyncio.to_thread(inside.wait, 10)
        adding.cancel()
        await nft.apply(REMOVAL)
        with pytest.raises(asyncio.CancelledError):
            await adding
    assert not nft.table_is_there()


@pytest.mark.parametrize("library", ["libnftables.so.none", "libc.so.6", None])
@pytest.mark.asyncio
async def test_without_the_library_all_goes_through_the_program(library: str | None) -> None:
    with empty_namespace():
        client = Nft(library=library)
        assert await client.apply(TABLE) == client.generation()
        assert await client.apply(change("add", 1)) == client.generation()
        assert not client.in_process
        assert elements() == {"10.0.0.1"}
        client.close()


@pytest.mark.asyncio
async def test_small_texts_start_no_program_and_long_ones_do(
    nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[str, ...]] = []
    original = nft._run

    async def counted(arguments: tuple[str, ...], data: bytes) -> tuple[int, bytes, str]:
        runs.append(arguments)
        return await original(arguments, data)

    monkeypatch.setattr(nft, "_run", counted)
    await nft.apply(TABLE)
    assert runs == []
    known = await nft.apply(TABLE + "\n" * SMALL_TEXT)
    assert runs == [("-f", "-")]
    assert known == nft.generation()


@pytest.mark.asyncio
async def test_the_presence_of_our_table_is_told(nft: Nft) -> None:
    run("nft add table ip lvskeeper; nft add table inet lvskeeperx")
    assert not nft.table_is_there()
    await nft.apply(TABLE)
    assert nft.table_is_there()
    run("nft flush ruleset")
    assert not nft.table_is_there()


def test_what_the_library_writes_stays_in_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    with empty_namespace():
        context = Context()
        assert context.run(f"{TABLE}list ruleset\n") == ""
        assert "syntax error" in context.run("nonsense\n")
        context.close()
        context.close()
    assert capfd.readouterr() == ("", "")
