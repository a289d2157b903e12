import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.router_spec import (
    ArgumentMatch,
    TrackedFile,
    TrackedProcess,
    TrackedScript,
)
from lvskeeper.daemon.track_files import EMPTY_HOLD
from lvskeeper.daemon.track_news import (
    FileChanged,
    FileUnwatched,
    FileUnwritten,
    ProcessesPolled,
    QuorumTurned,
    ScriptEnd,
    ScriptEndChanged,
    ScriptHostLost,
    ScriptSkipped,
    ScriptTurned,
    ScriptUnstarted,
    TrackNews,
)
from lvskeeper.daemon.track_processes import matches
from lvskeeper.daemon.trackers import Trackers
from lvskeeper.vrrp.trackers import ProcessSpec, ScriptSpec
from lvskeeper.vrrp.tracking import FAILED, UNKNOWN, WELL, Status, TrackId, TrackKind

pytestmark = pytest.mark.asyncio

News = TypeVar("News")
FAST = ScriptSpec(interval=0.1, timeout=5)


class World:
    """Trackers, and what they told."""

    def __init__(self) -> None:
        self.news: list[TrackNews] = []
        self.changes: list[tuple[TrackId, Status]] = []
        self.trackers = Trackers(
            lambda track, status: self.changes.append((track, status)), self.news.append
        )

    def status(self, kind: TrackKind, name: str) -> Status:
        return self.trackers.statuses()[TrackId(kind, name)]

    def script(self, name: str = "s") -> Status:
        return self.status(TrackKind.SCRIPT, name)

    def file(self, name: str = "f") -> int:
        return self.status(TrackKind.FILE, name).value

    def process(self, name: str = "p") -> Status:
        return self.status(TrackKind.PROCESS, name)

    def of(self, kind: type[News]) -> list[News]:
        return [news for news in self.news if isinstance(news, kind)]

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.news, self.changes)
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.trackers.close()


def sh(text: str, spec: ScriptSpec = FAST, *, name: str = "s", user: str = "") -> TrackedScript:
    return TrackedScript(name, Script(("/bin/sh", "-c", text), user), spec)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def alive(pid: int) -> bool:
    """Whether *pid* is a process that has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def lag() -> AsyncIterator[list[float]]:
    """Collect how late the loop wakes up, in seconds."""
    late: list[float] = []

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            late.append(loop.time() - due)

    task = asyncio.create_task(watch())
    yield late
    task.cancel()


# --- scripts


async def test_the_first_result_decides(world: World) -> None:
    slow = ScriptSpec(interval=60, rise=3, fall=3)
    await world.trackers.replace(
        [sh("echo fine; exit 0", slow, name="a"), sh("echo bad >&2; exit 3", slow, name="b")],
        [],
        [],
    )
    assert world.script("a") == world.script("b") == UNKNOWN
    await world.until(lambda: len(world.changes) == 2, 3)
    assert (world.script("a"), world.script("b")) == (WELL, FAILED)
    assert sorted(world.changes, key=str) == [
        (TrackId(TrackKind.SCRIPT, "a"), WELL),
        (TrackId(TrackKind.SCRIPT, "b"), FAILED),
    ]
    good, bad = sorted(world.of(ScriptTurned), key=lambda news: news.name)
    assert (good.well, good.end.status, good.end.output) == (True, 0, "fine")
    assert (bad.well, bad.end.status, bad.end.output) == (False, 3, "bad")
    assert 0 < bad.end.seconds < 3


async def test_rise_and_fall_count_results_in_a_row(world: World, tmp_path: Path) -> None:
    answer, log = tmp_path / "answer", tmp_path / "log"
    answer.write_text("0")
    spec = ScriptSpec(interval=0.1, timeout=5, rise=2, fall=3)
    await world.trackers.replace(
        [sh(f"a=$(cat {answer}); echo $a >> {log}; exit $a", spec)], [], []
    )
    await world.until(lambda: world.script() == WELL)
    answer.write_text("1")
    await world.until(lambda: world.script() == FAILED)
    assert lines(log).count("1") == 3
    answer.write_text("0")
    await world.until(lambda: world.script() == WELL)
    assert lines(log)[lines(log).index("1") :] == ["1", "1", "1", "0", "0"]
    assert [news.well for news in world.of(ScriptTurned)] == [True, False, True]
    changed = world.of(ScriptEndChanged)
    assert [(str(news.before), str(news.end)) for news in changed] == [
        ("exit status 0", "exit status 1"),
        ("exit status 1", "exit status 0"),
    ]


async def test_init_fail_is_failed_until_it_has_risen(world: World) -> None:
    await world.trackers.replace(
        [sh("exit 0", ScriptSpec(interval=0.1, timeout=5, init_fail=True))], [], []
    )
    assert world.script() == FAILED
    await world.until(lambda: world.script() == WELL)
    assert world.changes == [(TrackId(TrackKind.SCRIPT, "s"), WELL)]


async def test_a_signal_that_ends_it_is_told(world: World) -> None:
    await world.trackers.replace([sh("kill -USR1 $$")], [], [])
    await world.until(lambda: world.script() == FAILED)
    end = world.of(ScriptTurned)[0].end
    assert (end.status, end.signal, str(end)) == (None, signal.SIGUSR1, "signal 10")


async def test_a_script_over_its_time_that_ignores_sigterm_is_killed(
    world: World, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    deaf = f"trap '' TERM; echo $$ >> {pids}; sleep 60 & echo $! >> {pids}; wait; sleep 60"
    await world.trackers.replace([sh(deaf, ScriptSpec(interval=30, timeout=0.5))], [], [])
    await world.until(lambda: world.script() == FAILED)
    [turned] = world.of(ScriptTurned)
    assert turned.end.timed_out
    assert 0.4 < turned.end.seconds < 2
    leader, child = (int(line) for line in lines(pids))
    began = time.monotonic()
    assert alive(leader)
    await world.until(lambda: not alive(leader) and not alive(child))
    assert 1.5 < time.monotonic() - began < 4
    assert world.news == [turned]


async def test_a_machine_that_stood_still_fails_no_script(world: World, tmp_path: Path) -> None:
    own = tmp_path / "own"
    spec = ScriptSpec(interval=60, timeout=0.4)
    await world.trackers.replace([sh(f"echo $$ > {own}; sleep 0.1; sleep 0.1", spec)], [], [])
    await world.until(lambda: lines(own))
    group = int(lines(own)[0])
    os.killpg(group, signal.SIGSTOP)
    time.sleep(0.8)  # noqa: ASYNC251 - the loop stands still as well
    os.killpg(group, signal.SIGCONT)
    await world.until(lambda: world.changes)
    assert world.script() == WELL


async def test_a_script_that_obeys_sigterm_runs_again_at_its_interval(
    world: World, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    spec = ScriptSpec(interval=0.4, timeout=0.2)
    await world.trackers.replace([sh(f"echo x >> {log}; exec sleep 60", spec)], [], [])
    await world.until(lambda: len(lines(log)) >= 3, 5)
    assert world.script() == FAILED
    assert len(world.of(ScriptTurned)) == 1
    assert not world.of(ScriptSkipped)


async def test_a_script_that_still_runs_is_not_started_again_and_that_is_told_once(
    world: World, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    spec = ScriptSpec(interval=0.1, timeout=10)
    await world.trackers.replace([sh(f"echo x >> {log}; sleep 1.5", spec)], [], [])
    await world.until(lambda: len(world.of(ScriptSkipped)) == 2)
    assert len(lines(log)) == 2
    assert all(0.05 < news.seconds < 1.5 for news in world.of(ScriptSkipped))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(("/nowhere/at/all",)), "no such file or directory"),
        (Script(("/etc/passwd",)), "permission denied"),
        (Script(("/bin/true",), user="no-such-user"), "no-such-user"),
        (Script(("/bin/true", "a\0b")), "null byte"),
        (Script(("/bin/echo", "x" * 300_000)), "too many"),
    ],
)
async def test_a_script_that_cannot_be_started_has_failed_and_says_why_once(
    world: World, script: Script, reason: str
) -> None:
    spec = ScriptSpec(interval=0.05, timeout=5, fall=2)
    well = TrackedScript("t", script, spec)
    await world.trackers.replace([well], [], [])
    await world.until(lambda: world.script("t") == FAILED)
    await asyncio.sleep(0.2)
    [unstarted] = world.of(ScriptUnstarted)
    assert reason in unstarted.reason
    assert [news.end for news in world.of(ScriptTurned)] == [ScriptEnd(error=unstarted.reason)]
    # A busy machine may be late with a start, and that is told
    assert len(world.news) - len(world.of(ScriptSkipped)) == 2


@pytest.mark.root
async def test_user_session_class_and_environment_of_a_script(world: World) -> None:
    text = (
        "echo $(id -un) $(id -Gn) $(cut -d' ' -f1,5,6,19,41 /proc/$$/stat)"
        " $(ls -l /proc/self/fd | wc -l); env -u PWD -u OLDPWD -u _ | sort; exit 1"
    )
    await world.trackers.replace([sh(text, user="nobody")], [], [])
    await world.until(lambda: world.of(ScriptTurned))
    first, *env = world.of(ScriptTurned)[0].end.output.splitlines()
    user, group, pid, pgid, session, nice, policy, entries = first.split()
    assert (user, group, nice, policy) == ("nobody", "nogroup", "0", "0")
    assert pid == pgid == session
    assert int(entries) == 5, "0, 1, 2, the directory itself, and the line with the sum"
    assert env == [
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


@pytest.mark.root
async def test_scripts_of_a_real_time_role_are_in_the_usual_class(tmp_path: Path) -> None:
    # Another process, and without SCHED_RESET_ON_FORK
    log = tmp_path / "log"
    program = (
        "import asyncio, os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from daemon import test_trackers as t\n"
        "async def main():\n"
        "    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))\n"
        "    w = t.World()\n"
        f"    s = t.sh('cut -d\" \" -f19,41 /proc/$$/stat > {log}')\n"
        "    await w.trackers.replace([s], [], [])\n"
        "    await w.until(lambda: w.script() == t.WELL)\n"
        "    await w.trackers.close()\n"
        "asyncio.run(main())\n"
    )
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2]
    )
    assert lines(log) == ["0", "0"]


async def test_a_reload_keeps_the_row_of_what_did_not_change(world: World, tmp_path: Path) -> None:
    answer, log = tmp_path / "answer", tmp_path / "log"
    answer.write_text("0")
    spec = ScriptSpec(interval=0.2, timeout=5, fall=3)
    kept = sh(f"a=$(cat {answer}); echo $a >> {log}; exit $a", spec)
    await world.trackers.replace([kept, sh("sleep 60", name="gone")], [], [])
    await world.until(lambda: world.script() == WELL)
    answer.write_text("1")
    await world.until(lambda: lines(log).count("1") == 2)
    await world.trackers.replace([sh("exit 0", name="new"), kept], [], [])
    assert world.script() == WELL
    await world.until(lambda: world.script() == FAILED)
    assert lines(log).count("1") == 3
    assert set(world.trackers.statuses()) == {
        TrackId(TrackKind.SCRIPT, "s"),
        TrackId(TrackKind.SCRIPT, "new"),
    }


async def test_a_reload_leaves_a_running_script_and_ends_those_that_changed_or_went(
    world: World, tmp_path: Path
) -> None:
    spec = ScriptSpec(interval=30, timeout=20)

    def noted(name: str, note: str = "") -> TrackedScript:
        return sh(f"echo $$ > {tmp_path}/{name}; exec sleep 60 {note}", spec, name=name)

    def pid(name: str) -> int:
        return int((tmp_path / name).read_text())

    names = ["kept", "gone", "changed"]
    await world.trackers.replace([noted(name) for name in names], [], [])
    await world.until(lambda: all(lines(tmp_path / name) for name in names))
    kept, gone, changed = (pid(name) for name in names)
    await world.trackers.replace([noted("kept"), noted("changed", "1")], [], [])
    await world.until(lambda: not alive(gone) and not alive(changed))
    # Its shell empties the file first
    await world.until(lambda: lines(tmp_path / "changed") not in ([], [str(changed)]))
    assert alive(kept)
    assert pid("kept") == kept
    assert world.news == []


async def test_close_ends_what_runs_soon(world: World, tmp_path: Path) -> None:
    spec = ScriptSpec(interval=30, timeout=20)
    deaf = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 60; done"
    await world.trackers.replace([sh(deaf, spec)], [], [])
    await world.until(lambda: lines(tmp_path / "pid"))
    began = time.monotonic()
    await world.trackers.close()
    await world.until(lambda: not alive(int((tmp_path / "pid").read_text())))
    assert time.monotonic() - began < 2
    assert world.trackers.statuses() == {}


async def test_when_the_host_dies_its_scripts_do_and_another_goes_on(
    world: World, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    spec = ScriptSpec(interval=0.3, timeout=20)
    text = f"echo $$ >> {log}; [ $(wc -l < {log}) = 2 ] && exec sleep 60; exit 0"
    await world.trackers.replace([sh(text, spec)], [], [])
    await world.until(lambda: len(lines(log)) == 2)
    child = world.trackers._scripts._link._child
    assert child
    await asyncio.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    await world.until(lambda: len(lines(log)) >= 4)
    assert not alive(int(lines(log)[1]))
    assert [news.reason for news in world.of(ScriptHostLost)] == ["it has ended"]
    assert world.changes == [(TrackId(TrackKind.SCRIPT, "s"), WELL)]


async def test_a_host_that_stands_still_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.track_scripts.HOST_ANSWER", 0.5)
    await world.trackers.replace([sh("exit 0", ScriptSpec(interval=0.2, timeout=0.15))], [], [])
    await world.until(lambda: world.script() == WELL)
    child = world.trackers._scripts._link._child
    assert child
    os.kill(child.pid, signal.SIGSTOP)
    await world.until(lambda: world.script() == FAILED)
    await world.until(lambda: world.script() == WELL)
    assert child.ended.result() == -signal.SIGKILL
    assert [news.reason for news in world.of(ScriptHostLost)] == ["it does not answer"]


async def test_without_a_host_all_scripts_fail_and_come_back_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.track_scripts.HOST_START", 0.2)
    scripts = [sh("exit 0", name=f"s{number}") for number in range(255)]
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/nowhere/python")
        await world.trackers.replace(scripts, [], [])
        await world.until(lambda: len(world.changes) == 255)
        assert set(world.trackers.statuses().values()) == {FAILED}
        assert world.of(ScriptHostLost)[0].reason == "no such file or directory"
    await world.until(lambda: set(world.trackers.statuses().values()) == {WELL}, 15)


async def test_a_reload_to_no_scripts_and_back(world: World) -> None:
    await world.trackers.replace([sh("exit 0")], [], [])
    await world.until(lambda: world.script() == WELL)
    await world.trackers.replace([], [], [])
    assert world.trackers.statuses() == {}
    await world.trackers.replace([sh("exit 0")], [], [])
    assert world.script() == UNKNOWN
    await world.until(lambda: world.script() == WELL)


async def test_scripts_end_with_the_role(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "import asyncio, os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from daemon import test_trackers as t\n"
        "async def main():\n"
        "    w = t.World()\n"
        f"    s = t.sh('echo $$ > {log}; exec sleep 60')\n"
        "    await w.trackers.replace([s], [], [])\n"
        f"    await w.until(lambda: t.lines(t.Path({str(log)!r})))\n"
        "    os._exit(7)\n"
        "asyncio.run(main())\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 7
    pid = int(log.read_text())
    for _ in range(100):
        if not alive(pid):
            break
        await asyncio.sleep(0.02)
    assert not alive(pid)


async def test_255_scripts_have_a_result_soon_and_leave_the_loop_free(world: World) -> None:
    spec = ScriptSpec(interval=1, timeout=10)
    scripts = [TrackedScript(f"s{number}", Script(("/bin/true",)), spec) for number in range(255)]
    async with lag() as late:
        began = time.monotonic()
        await world.trackers.replace(scripts, [], [])
        await world.until(lambda: len(world.changes) == 255)
        took = time.monotonic() - began
    assert all(status == WELL for status in world.trackers.statuses().values())
    assert took < 4
    late.sort()
    assert late[len(late) // 2] < 0.01
    assert late[-1] < 0.25


async def test_scripts_that_hang_do_not_hold_up_others(world: World) -> None:
    hanging = [
        sh("exec sleep 60", ScriptSpec(interval=60, timeout=30), name=f"h{number}")
        for number in range(40)
    ]
    late = sh("exit 0", ScriptSpec(interval=60), name="late")
    await world.trackers.replace([*hanging, late], [], [])
    await world.until(lambda: world.script("late") == WELL, 4)
    assert len(world.changes) == 1


# --- files


def tracked(path: Path, initial: int | None = None, *, overwrite: bool = False) -> TrackedFile:
    return TrackedFile("f", str(path), initial, overwrite)


async def test_a_file_is_read_at_once_and_when_it_is_written(world: World, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("12\n")
    await world.trackers.replace([], [tracked(path)], [])
    assert world.file() == 12
    assert world.changes == []
    path.write_text("-5 and more")
    await world.until(lambda: world.file() == -5, 2)
    assert world.news == [FileChanged("f", 12, -5)]
    assert world.changes == [(TrackId(TrackKind.FILE, "f"), Status(well=True, value=-5))]


async def test_a_file_replaced_deleted_and_made_again(world: World, tmp_path: Path) -> None:
    path, other = tmp_path / "f", tmp_path / "other"
    path.write_text("1")
    await world.trackers.replace([], [tracked(path)], [])
    other.write_text("2")
    other.rename(path)
    await world.until(lambda: world.file() == 2, 2)
    path.unlink()
    await world.until(lambda: world.file() == 0, 2)
    path.write_text("3")
    await world.until(lambda: world.file() == 3, 2)
    path.rename(other)
    await world.until(lambda: world.file() == 0, 2)
    assert [news.new for news in world.of(FileChanged)] == [2, 0, 3, 0]


async def test_links_are_followed_wherever_they_lead(world: World, tmp_path: Path) -> None:
    for name, value in (("v1", "1"), ("v2", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(value)
    (tmp_path / "mount").mkdir()
    now, link = tmp_path / "mount" / "now", tmp_path / "link"
    now.symlink_to("../v1")
    link.symlink_to("mount/now/f")
    await world.trackers.replace([], [tracked(link)], [])
    assert world.file() == 1
    (tmp_path / "v1" / "f").write_text("10")
    await world.until(lambda: world.file() == 10, 2)
    (tmp_path / "mount" / "next").symlink_to("../v2")
    (tmp_path / "mount" / "next").rename(now)
    await world.until(lambda: world.file() == 2, 2)
    (tmp_path / "v2" / "f").write_text("20")
    await world.until(lambda: world.file() == 20, 2)
    (tmp_path / "v1" / "f").write_text("11")
    link.unlink()
    link.symlink_to("v1/f")
    await world.until(lambda: world.file() == 11, 2)
    assert [news.new for news in world.of(FileChanged)] == [10, 2, 20, 11]


async def test_a_loop_of_links_is_no_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    await world.trackers.replace([], [tracked(tmp_path / "a")], [])
    assert world.file() == 0
    (tmp_path / "b").unlink()
    (tmp_path / "b").write_text("4")
    await world.until(lambda: world.file() == 4, 2)


async def test_a_missing_directory_is_told_and_found_when_it_comes(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "later" / "f"
    await world.trackers.replace([], [tracked(path)], [])
    assert world.file() == 0
    assert world.news == [FileUnwatched("f", str(path.parent), "no such file or directory")]
    path.parent.mkdir()
    path.write_text("7")
    await world.until(lambda: world.file() == 7, 3)
    path.write_text("8")
    await world.until(lambda: world.file() == 8, 0.5)
    path.unlink()
    path.parent.rmdir()
    await world.until(lambda: len(world.of(FileUnwatched)) == 2, 2)
    assert world.file() == 0


async def test_a_file_that_is_rewritten_is_never_taken_for_empty(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_text("1")
    await world.trackers.replace([], [tracked(path)], [])
    for number in range(1, 200):
        path.write_text(str(number % 2 + 1))
        path.open("w").close()
        await asyncio.sleep(0)
        path.write_text(str(number % 2 + 1))
    await asyncio.sleep(EMPTY_HOLD * 2)
    assert 0 not in [status.value for _, status in world.changes]
    path.open("w").close()
    await world.until(lambda: world.file() == 0, 2)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe", b" " * 100 + b"5"])
async def test_what_is_no_number_counts_as_0(world: World, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_text("1")
    await world.trackers.replace([], [tracked(path)], [])
    path.write_bytes(content)
    await world.until(lambda: world.file() == 0, 2)


async def test_a_pipe_or_directory_is_no_file_and_blocks_nothing(
    world: World, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "f")
    await world.trackers.replace([], [tracked(tmp_path / "f", 5, overwrite=True)], [])
    assert world.file() == 0
    [unwritten] = world.of(FileUnwritten)
    assert unwritten.path == str(tmp_path / "f")
    await world.trackers.replace([], [tracked(tmp_path)], [])
    assert world.file() == 0


async def test_initial_values(world: World, tmp_path: Path) -> None:
    made, kept, forced = (tmp_path / name for name in ("made", "kept", "forced"))
    kept.write_text("1")
    forced.write_text("1")
    files = [
        TrackedFile("made", str(made), 30),
        TrackedFile("kept", str(kept), 30),
        TrackedFile("forced", str(forced), 30, overwrite=True),
        TrackedFile("nowhere", str(tmp_path / "no" / "f"), 30),
    ]
    await world.trackers.replace([], files, [])
    assert [world.file(file.name) for file in files] == [30, 1, 30, 0]
    assert made.read_text() == "30\n"
    assert made.stat().st_mode & 0o777 == 0o644
    assert [news.name for news in world.of(FileUnwritten)] == ["nowhere"]
    forced.write_text("2")
    await world.until(lambda: world.file("forced") == 2, 2)
    await world.trackers.replace([], files, [])
    assert forced.read_text() == "2", "a reload writes nothing for what did not change"


async def test_without_inotify_files_are_looked_at_once_a_second(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("lvskeeper.daemon.track_files.Inotify", refuse)
    path = tmp_path / "f"
    await world.trackers.replace([], [tracked(path)], [])
    assert world.news == [FileUnwatched("f", str(tmp_path), "too many open files")]
    path.write_text("9")
    await world.until(lambda: world.file() == 9, 3)


# --- processes


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that sleeps, under a name of its own."""
    path = tmp_path / f"zz{os.getpid() % 100_000}-{time.monotonic_ns() % 1_000_000}"
    path.symlink_to("/bin/sleep")
    return path


@pytest.fixture
def python(program: Path) -> Path:
    """An interpreter under a name of its own."""
    program.unlink()
    program.symlink_to(sys.executable)
    return program


def start(*argv: str | Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, start_new_session=True)


@asynccontextmanager
async def running(program: Path, *arguments: str) -> AsyncIterator[int]:
    process = start(program, *(arguments or ("60",)))
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def named(program: Path, quorum: int = 1, most: int = 0, **delays: float) -> TrackedProcess:
    return TrackedProcess("p", program.name, spec=ProcessSpec(quorum, most, **delays))


async def test_a_process_that_starts_and_ends(world: World, program: Path) -> None:
    await world.trackers.replace([], [], [named(program)])
    assert world.process() == FAILED
    async with running(program):
        await world.until(lambda: world.process() == WELL, 3)
    await world.until(lambda: world.process() == FAILED, 3)
    assert world.of(QuorumTurned) == [QuorumTurned("p", True, 1), QuorumTurned("p", False, 0)]
    assert [status for _, status in world.changes] == [WELL, FAILED]


async def test_processes_that_run_already_and_their_quorum(world: World, program: Path) -> None:
    async with running(program), running(program):
        await world.trackers.replace([], [], [named(program, 2, 3)])
        assert world.process() == WELL
        async with running(program):
            async with running(program):
                await world.until(lambda: world.process() == FAILED, 3)
            await world.until(lambda: world.process() == WELL, 3)
    await world.until(lambda: world.process() == FAILED, 3)


@pytest.mark.root
async def test_delays_of_start_and_end(world: World, program: Path) -> None:
    await world.trackers.replace([], [], [named(program, up_delay=0.4, down_delay=0.6)])
    async with running(program):
        pass
    async with running(program):
        began = time.monotonic()
        await world.until(lambda: world.process() == WELL, 3)
        assert 0.3 < time.monotonic() - began < 1.5
        assert len(world.news) == 1
    ended = time.monotonic()
    await world.until(lambda: world.process() == FAILED, 3)
    assert 0.5 < time.monotonic() - ended < 1.5


@pytest.mark.root
async def test_children_that_run_no_program_of_their_own_count(world: World, python: Path) -> None:
    program = python
    await world.trackers.replace([], [], [named(program, 3)])
    code = "import os, time; os.fork(); os.fork(); time.sleep(60)"
    process = start(program, "-c", code)
    try:
        await world.until(lambda: world.process() == WELL)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    await world.until(lambda: world.process() == FAILED)
    assert world.news[-1] == QuorumTurned("p", False, 2) or len(world.news) == 2


@pytest.mark.root
async def test_a_process_that_renames_itself(world: World) -> None:
    name = f"zzr{os.getpid()}"
    await world.trackers.replace([], [], [TrackedProcess("p", name)])
    code = f"import ctypes, time; ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0); time.sleep(60)"
    process = start(sys.executable, "-c", code)
    try:
        await world.until(lambda: world.process() == WELL, 5)
    finally:
        process.kill()
        process.wait()


async def test_a_path_with_arguments(world: World, program: Path) -> None:
    spec = TrackedProcess("p", str(program), ("60", "1"))
    await world.trackers.replace([], [], [spec])
    async with running(program, "60"), running(program, "60", "2"):
        async with running(program, "60", "1"):
            await world.until(lambda: world.process() == WELL, 3)
        await world.until(lambda: world.process() == FAILED, 3)


@pytest.mark.parametrize(
    ("process", "arguments", "how", "meant"),
    [
        # What keepalived 2.2.7 makes of "/d/prog 30 1"; alone it takes a path for a short name
        ("prog", None, ArgumentMatch.EXACT, True),
        ("/d/prog", None, ArgumentMatch.EXACT, True),
        ("prog", ("30", "1"), ArgumentMatch.EXACT, False),
        ("/d/prog", ("30", "1"), ArgumentMatch.EXACT, True),
        ("/d/prog", ("30",), ArgumentMatch.EXACT, False),
        ("/d/prog", ("30",), ArgumentMatch.PARTIAL, True),
        ("/d/prog", ("30",), ArgumentMatch.INITIAL, True),
        ("/d/prog", ("3",), ArgumentMatch.PARTIAL, False),
        ("/d/prog", ("3",), ArgumentMatch.INITIAL, True),
        ("/d/prog", (), ArgumentMatch.INITIAL, True),
        ("/d/prog", (), ArgumentMatch.PARTIAL, True),
        ("/d/prog", (), ArgumentMatch.EXACT, False),
        ("/d/prog", ("30", "1", "2"), ArgumentMatch.INITIAL, False),
    ],
)
async def test_how_arguments_are_compared(
    process: str, arguments: tuple[str, ...] | None, how: ArgumentMatch, meant: bool
) -> None:
    spec = TrackedProcess("p", process, arguments, how)
    assert matches(spec, "prog", ("/d/prog", "30", "1")) is meant


async def test_long_names_are_compared_as_the_kernel_cuts_them() -> None:
    spec = TrackedProcess("p", "a-name-of-more-than-15")
    assert matches(spec, "a-name-of-more-", ())
    full = TrackedProcess("p", "prog", full_command=True)
    assert matches(full, "x", ("prog", "1"))
    assert not matches(full, "prog", ("/d/prog",))


@pytest.mark.root
async def test_a_storm_of_forks_leaves_the_loop_free_and_the_count_right(
    world: World, program: Path
) -> None:
    await world.trackers.replace([], [], [named(program)])
    loop = "i=0; while [ $i -lt 1500 ]; do /bin/true; i=$((i+1)); done"
    storm = start("/bin/sh", "-c", f"({loop}) & ({loop}); wait")
    async with lag() as late:
        async with running(program):
            await world.until(lambda: world.process() == WELL, 3)
            await world.until(lambda: storm.poll() is not None, 60)
            assert world.process() == WELL
        await world.until(lambda: world.process() == FAILED, 3)
    assert len(world.changes) == 2
    late.sort()
    assert late[len(late) // 2] < 0.02
    assert late[-1] < 0.25


@pytest.mark.root
async def test_after_lost_events_all_are_counted(world: World, program: Path) -> None:
    await world.trackers.replace([], [], [named(program)])
    events = world.trackers._processes._events
    assert events
    events._socket.setsockopt(1, 8, 2048)  # SO_RCVBUF
    for _ in range(20):
        subprocess.run(["/bin/true"], check=True)  # noqa: ASYNC221 - the loop is not to read
    async with running(program):
        events._socket.setsockopt(1, 8, 1 << 17)
        await world.until(lambda: world.process() == WELL, 5)


@pytest.mark.root
async def test_where_the_kernel_tells_nothing_processes_are_polled(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from daemon import test_trackers as t\n"
        "async def main():\n"
        "    w = t.World()\n"
        f"    p = t.Path({str(tmp_path)!r}) / 'zzpolled'\n"
        "    p.symlink_to('/bin/sleep')\n"
        "    await w.trackers.replace([], [], [t.named(p)])\n"
        "    async with t.running(p):\n"
        "        await w.until(lambda: w.process() == t.WELL, 5)\n"
        "    await w.until(lambda: w.process() == t.FAILED, 5)\n"
        "    await w.trackers.close()\n"
        f"    t.Path({str(log)!r}).write_text(repr(w.news))\n"
        "asyncio.run(main())\n"
    )
    await asyncio.to_thread(
        subprocess.run,
        ["unshare", "--net", sys.executable, "-c", code],
        check=True,
        cwd=Path(__file__).parents[2],
    )
    news = [
        ProcessesPolled("the kernel tells of processes in the first network namespace only"),
        QuorumTurned("p", True, 1),
        QuorumTurned("p", False, 0),
    ]
    assert log.read_text() == repr(news)


async def test_a_reload_keeps_the_delay_of_a_process_that_did_not_change(
    world: World, program: Path
) -> None:
    async with running(program):
        spec = named(program, down_delay=30)
        await world.trackers.replace([], [], [spec])
    other = TrackedProcess("q", "no-such-process")
    await world.trackers.replace([], [], [spec, other])
    assert (world.process("p"), world.process("q")) == (WELL, FAILED)
    await world.trackers.replace([], [], [named(program)])
    assert world.process("p") == FAILED
    await world.trackers.replace([], [], [])
    assert world.trackers.statuses() == {}
