"""Scripts as checks: their ends, their limits, and that none is left behind."""

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from lvskeeper.daemon import script_link
from lvskeeper.daemon.fifo_reader import FifoReader
from lvskeeper.daemon.health import room_for_probes
from lvskeeper.daemon.misc_checks import MiscProber
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_runs import HOST_PAUSE
from lvskeeper.health import spec as spec_module
from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult, ScriptRun
from lvskeeper.probes import runner as runner_module
from lvskeeper.probes.runner import ProbeRunner
from lvskeeper.units import parse_address

pytestmark = pytest.mark.asyncio

OOM = Path("/proc/self/oom_score_adj")


@pytest_asyncio.fixture
async def prober() -> AsyncIterator[MiscProber]:
    prober = MiscProber()
    yield prober
    await prober.close()


def sh(text: str, *, limit: float = 10.0, dynamic: bool = False, user: str = "") -> CheckSpec:
    run = ScriptRun(("/bin/sh", "-c", text), user, dynamic=dynamic)
    return CheckSpec(
        CheckKind.MISC, parse_address("192.0.2.1"), 80, connect_timeout=limit, script=run
    )


def alive(pid: int) -> bool:
    """Whether *pid* is a process that has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def write_script(path: Path, mode: int) -> None:
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(mode)


def number(path: Path) -> int:
    return int(path.read_text())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come about")


async def until_dead(pid: int) -> None:
    await until(lambda: not alive(pid))


async def number_in(path: Path) -> int:
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return number(path)


async def test_scripts_have_the_usual_limit_of_open_files(prober: MiscProber) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room_for_probes()
    try:
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 1024
        result = await prober.probe(sh("ulimit -Sn; exit 1"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert result.detail == "exit status 1: 1024"


@contextmanager
def spared() -> Iterator[None]:
    """Have this process spared where memory runs out."""
    before = OOM.read_text()
    OOM.write_text("-900")
    yield
    assert OOM.read_text() == "-900\n"
    OOM.write_text(before)


@pytest.mark.root
@pytest.mark.ipvs  # the root of a container may not do it
async def test_scripts_of_a_daemon_that_is_spared_where_memory_runs_out_are_not(
    prober: MiscProber, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    ear = Script(("/bin/sh", "-c", f"cat {OOM} > {heard}; exec sleep 1000"))
    with spared():
        result = await prober.probe(sh(f"cat {OOM}; exit 1"))
        pipe = str(tmp_path / "pipe")
        reader = FifoReader(ear, pipe, print, secure=False, owned=partial(asyncio.sleep, 0))
        await until(lambda: heard.exists() and heard.read_text() != "")
    reader.end()
    await reader.ended()
    assert (result.detail, heard.read_text()) == ("exit status 1: 0", "0\n")


@pytest.mark.parametrize(
    ("text", "dynamic", "phase", "detail", "weight"),
    [
        ("exit 0", False, Phase.DONE, "", None),
        ("exit 0", True, Phase.DONE, "", None),
        ("exit 1", False, Phase.STATUS, "exit status 1", None),
        ("exit 1", True, Phase.STATUS, "exit status 1", None),
        ("exit 2", False, Phase.STATUS, "exit status 2", None),
        ("exit 2", True, Phase.DONE, "", 0),
        ("exit 255", True, Phase.DONE, "", 253),
        ("echo first; echo 'no  replica' >&2; exit 3", False, Phase.STATUS,
         "exit status 3: no replica", None),
        ("kill -9 $$", True, Phase.STATUS, "killed by signal 9", None),
    ],
)  # fmt: skip
async def test_what_an_end_means(  # noqa: PLR0917 - a table of cases
    prober: MiscProber, text: str, dynamic: bool, phase: Phase, detail: str, weight: int | None
) -> None:
    result = await prober.probe(sh(text, dynamic=dynamic))
    assert (result.phase, result.detail, result.weight) == (phase, detail, weight)
    assert result.elapsed > 0


async def test_a_script_that_cannot_run_says_nothing_of_the_server(prober: MiscProber) -> None:
    spec = CheckSpec(
        CheckKind.MISC, parse_address("192.0.2.1"), 80, script=ScriptRun(("/no/where",))
    )
    result = await prober.probe(spec)
    assert result.phase is Phase.INTERNAL
    assert result.detail == "/no/where: no such file or directory"
    result = await prober.probe(sh("exit 0", user="nobody-of-that-name"))
    assert (result.phase, "nobody-of-that-name" in result.detail) == (Phase.INTERNAL, True)


@pytest.mark.root
async def test_with_script_security_root_runs_nothing_that_others_could_write(
    prober: MiscProber, tmp_path: Path
) -> None:
    script = tmp_path / "check"

    def spec(user: str = "", *, secure: bool = True) -> CheckSpec:
        run = ScriptRun((str(script),), user, secure=secure)
        return replace(sh(""), script=run)

    write_script(script, 0o777)
    result = await prober.probe(spec())
    assert result.phase is Phase.INTERNAL
    assert result.detail == f"{script}: not run as root: {script} is writable by everybody"
    assert (await prober.probe(spec(secure=False))).ok
    write_script(script, 0o755)
    assert (await prober.probe(spec())).ok


@pytest.mark.root
async def test_it_runs_as_its_user(prober: MiscProber) -> None:
    result = await prober.probe(sh("id -un; exit 1", user="nobody"))
    assert result.detail == "exit status 1: nobody"


async def test_the_whole_group_ends_at_the_limit(prober: MiscProber, tmp_path: Path) -> None:
    child = tmp_path / "child"
    result = await prober.probe(sh(f"sleep 1000 & echo $! > {child}; wait", limit=0.3))
    assert (result.phase, result.detail) == (
        Phase.TIMEOUT, "timed out after 300 ms while running the script",
    )  # fmt: skip
    assert 0.3 <= result.elapsed < 5
    await until_dead(int(child.read_text()))


async def test_a_script_that_ignores_sigterm_is_killed_before_its_probe_ends(
    tmp_path: Path,
) -> None:
    prober = MiscProber(kill_delay=0.3)
    own = tmp_path / "own"
    spec = sh(f"trap '' TERM; echo $$ > {own}; while :; do sleep 1000; done", limit=0.5)
    result = await prober.probe(spec)
    assert result.phase is Phase.TIMEOUT
    assert not alive(int(own.read_text()))
    await prober.close()


async def test_a_machine_that_stood_still_fails_no_script(
    prober: MiscProber, tmp_path: Path
) -> None:
    assert (await prober.probe(sh("exit 0"))).ok
    own = tmp_path / "own"
    task = asyncio.create_task(
        prober.probe(sh(f"echo $$ > {own}; sleep 0.1; sleep 0.1", limit=0.4))
    )
    pid = await number_in(own)
    os.killpg(pid, signal.SIGSTOP)
    time.sleep(0.8)  # noqa: ASYNC251 - the loop stands still as well
    os.killpg(pid, signal.SIGCONT)
    assert (await task).phase is Phase.DONE


async def test_a_dropped_probe_ends_its_script(prober: MiscProber, tmp_path: Path) -> None:
    own = tmp_path / "own"
    task = asyncio.create_task(prober.probe(sh(f"echo $$ > {own}; exec sleep 1000")))
    pid = await number_in(own)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await until_dead(pid)


async def test_nothing_is_left_after_the_close(tmp_path: Path) -> None:
    prober, own = MiscProber(), tmp_path / "own"
    task = asyncio.create_task(prober.probe(sh(f"echo $$ > {own}; exec sleep 1000")))
    pid = await number_in(own)
    task.cancel()
    await asyncio.wait({task})
    await prober.close()
    await until_dead(pid)


async def test_the_host_may_die(prober: MiscProber, tmp_path: Path) -> None:
    own = tmp_path / "own"
    text = f"echo $PPID > {own}; exec sleep 1000"
    task = asyncio.create_task(prober.probe(sh(text)))
    host = await number_in(own)
    assert host != os.getpid()
    os.kill(host, signal.SIGKILL)
    result = await task
    assert (result.phase, result.detail) == (
        Phase.INTERNAL, "the process that runs scripts: it has ended",
    )  # fmt: skip
    await asyncio.sleep(HOST_PAUSE)
    assert (await prober.probe(sh("exit 0"))).ok


async def test_a_host_that_is_not_there_in_time_says_nothing_of_the_server(
    prober: MiscProber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(spec_module, "SCRIPT_EXTRA", 0.1)
    monkeypatch.setattr(runner_module, "GRACE", 0.1)
    monkeypatch.setattr(script_link, "CLOSE_WAIT", 0.1)
    results: asyncio.Queue[ProbeResult] = asyncio.Queue()
    runner = ProbeRunner[str](
        lambda _, result: results.put_nowait(result), others={CheckKind.MISC: prober.probe}
    )
    runner.start("a", sh("exit 0", limit=0.1))
    async with asyncio.timeout(5):
        assert (await results.get()).phase is Phase.INTERNAL
    await runner.close()
    await prober.close()


async def test_many_scripts_do_not_hold_up_the_loop(prober: MiscProber) -> None:
    assert (await prober.probe(sh("exit 0"))).ok
    late = []

    async def look() -> None:
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.005)
            late.append(time.monotonic() - start - 0.005)

    looking = asyncio.create_task(look())
    results = await asyncio.gather(*(prober.probe(sh("exit 0")) for _ in range(100)))
    looking.cancel()
    assert all(result.ok for result in results)
    assert sorted(late)[len(late) // 2] < 0.02
