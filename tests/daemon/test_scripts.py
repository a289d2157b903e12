import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from support.waiting import until

from lvskeeper.daemon import script_host, script_runs, scripts
from lvskeeper.daemon.children import MAX_OUTPUT, OURSELVES, Identity
from lvskeeper.daemon.packets import Packets, packet_pair
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_host import Ended, Run, ToRole, Unstarted
from lvskeeper.daemon.scripts import MAX_WAITING, ScriptOutcome, ScriptRunner

pytestmark = pytest.mark.asyncio


def sh(text: str) -> Script:
    return Script(("/bin/sh", "-c", text))


class Outcomes:
    def __init__(self) -> None:
        self.all: list[ScriptOutcome] = []
        self._changed = asyncio.Event()

    def __call__(self, outcome: ScriptOutcome) -> None:
        self.all.append(outcome)
        self._changed.set()

    async def wait_for(self, count: int) -> list[ScriptOutcome]:
        async with asyncio.timeout(10):
            while len(self.all) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.all


@pytest_asyncio.fixture
async def outcomes() -> Outcomes:
    return Outcomes()


@pytest_asyncio.fixture
async def runner(outcomes: Outcomes) -> AsyncIterator[ScriptRunner]:
    runner = ScriptRunner(outcomes, deadline=5, kill_delay=0.3)
    yield runner
    await runner.close(0)


def alive(pid: int) -> bool:
    """Whether *pid* is a process that has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> bool:
    for _ in range(100):
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_outcome_of_a_good_script(runner: ScriptRunner, outcomes: Outcomes) -> None:
    script = sh("echo to the log; echo and errors >&2")
    runner.submit("web a", script, {})
    [outcome] = await outcomes.wait_for(1)
    assert outcome.ok
    assert (outcome.subject, outcome.argv, outcome.status) == ("web a", script.argv, 0)
    assert outcome.output == "to the log\nand errors"
    assert (outcome.signal, outcome.timed_out, outcome.error, outcome.skipped) == (
        None, False, "", 0,
    )  # fmt: skip
    assert 0 < outcome.seconds < 5


@pytest.mark.parametrize(
    ("text", "status", "number"), [("exit 3", 3, None), ("kill -USR1 $$", None, signal.SIGUSR1)]
)
async def test_status_and_signal(
    runner: ScriptRunner, outcomes: Outcomes, text: str, status: int | None, number: int | None
) -> None:
    runner.submit("a", sh(text), {})
    [outcome] = await outcomes.wait_for(1)
    assert (outcome.status, outcome.signal, outcome.ok) == (status, number, False)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(("/nowhere/at/all",)), "no such file or directory"),
        (Script(("/etc/passwd",)), "permission denied"),
        (Script(("/bin/true",), user="no-such-user"), "no-such-user"),
        (Script(("/bin/true",), group="no-such-group"), "no-such-group"),
        (Script(("/bin/true", "a\0b")), "null byte"),
    ],
)
async def test_a_script_that_cannot_start_says_why(
    runner: ScriptRunner, outcomes: Outcomes, script: Script, error: str
) -> None:
    runner.submit("a", script, {})
    runner.submit("a", sh("exit 0"), {})
    failed, following = await outcomes.wait_for(2)
    assert error in failed.error
    assert (failed.status, failed.signal, failed.ok) == (None, None, False)
    assert following.ok


async def test_environment_is_the_facts_and_little_else(
    runner: ScriptRunner, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the daemon")
    facts = {"event": "real server down", "reason": "x; rm -rf $HOME `id`"}
    runner.submit("a", Script(("/usr/bin/env",)), facts)
    [outcome] = await outcomes.wait_for(1)
    assert sorted(outcome.output.splitlines()) == [
        "LANG=C.UTF-8",
        "LVSKEEPER_EVENT=real server down",
        "LVSKEEPER_REASON=x; rm -rf $HOME `id`",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


async def test_arguments_see_no_shell(runner: ScriptRunner, outcomes: Outcomes) -> None:
    runner.submit("a", Script(("/bin/echo", "$HOME", ";", "*")), {})
    [outcome] = await outcomes.wait_for(1)
    assert outcome.output == "$HOME ; *"


async def test_own_session_and_empty_input(runner: ScriptRunner, outcomes: Outcomes) -> None:
    runner.submit("a", sh("cat; cut -d' ' -f1,5,6 /proc/$$/stat; pwd"), {})
    [outcome] = await outcomes.wait_for(1)
    ids, directory = outcome.output.splitlines()
    pid, group, session = ids.split()
    assert pid == group == session
    assert int(session) != os.getsid(0)
    assert directory == "/"


async def test_one_subject_runs_in_order_others_beside_it(
    runner: ScriptRunner, outcomes: Outcomes
) -> None:
    for number in range(4):
        runner.submit("a", sh(f"sleep 0.{3 - number}; echo a{number}"), {})
    runner.submit("b", sh("echo b"), {})
    told = [outcome.output for outcome in await outcomes.wait_for(5)]
    assert told[0] == "b"
    assert told[1:] == ["a0", "a1", "a2", "a3"]


async def test_limit_of_scripts_at_a_time(outcomes: Outcomes, tmp_path: Path) -> None:
    runner = ScriptRunner(outcomes, limit=2)
    for number in range(6):
        mine = tmp_path / str(number)
        runner.submit(
            f"s{number}", sh(f"touch {mine}; ls {tmp_path} | wc -l; sleep 0.3; rm {mine}"), {}
        )
    counts = [int(outcome.output) for outcome in await outcomes.wait_for(6)]
    assert max(counts) == 2
    await runner.close(1)


async def test_an_urgent_script_does_not_wait_for_those_that_are_not(
    outcomes: Outcomes, tmp_path: Path
) -> None:
    runner = ScriptRunner(outcomes, limit=1)
    go = tmp_path / "go"
    for subject in "ab":
        runner.submit(subject, sh(f"until [ -e {go} ]; do sleep 0.01; done; echo {subject}"), {})
    runner.submit("c", sh(f"touch {go}; echo c"), {}, urgent=True)
    assert len(await outcomes.wait_for(3)) == 3
    await runner.close(5)


async def test_overflow_keeps_the_latest_and_says_so(
    runner: ScriptRunner, outcomes: Outcomes
) -> None:
    runner.submit("a", sh("sleep 0.4; echo first"), {})
    await asyncio.sleep(0.05)
    for number in range(2 * MAX_WAITING + 1):
        runner.submit("a", sh(f"echo {number}"), {})
    runner.submit("a", sh("echo after"), {})
    told = [(outcome.output, outcome.skipped) for outcome in await outcomes.wait_for(3)]
    assert told == [("first", 0), (str(2 * MAX_WAITING), 2 * MAX_WAITING), ("after", 0)]


async def test_timeout_ends_the_whole_group(outcomes: Outcomes, tmp_path: Path) -> None:
    runner = ScriptRunner(outcomes, deadline=1, kill_delay=0.2)
    pids = tmp_path / "pids"
    deaf = "trap '' TERM; sleep 60 & echo $! >> {0}; echo $$ >> {0}; wait; sleep 60"
    runner.submit("a", sh(f"({deaf.format(pids)}) & echo started; wait"), {})
    runner.submit("a", sh("echo next"), {})
    late, following = await outcomes.wait_for(2)
    assert late.timed_out
    assert late.status is None
    assert late.output == "started"
    assert following.output == "next"
    for pid in pids.read_text().split():
        assert await gone(int(pid))
    await runner.close(1)


async def test_a_script_may_end_itself_in_the_time_between_term_and_kill(
    outcomes: Outcomes,
) -> None:
    runner = ScriptRunner(outcomes, deadline=0.2, kill_delay=5)
    runner.submit("a", sh("trap 'echo bye; exit 7' TERM; while :; do sleep 0.02; done"), {})
    [outcome] = await outcomes.wait_for(1)
    assert (outcome.timed_out, outcome.status) == (True, 7)
    assert outcome.output.endswith("bye")
    await runner.close(1)


async def test_a_background_process_does_not_hold_up_the_queue(
    runner: ScriptRunner, outcomes: Outcomes
) -> None:
    runner.submit("a", sh("sleep 30 & echo $!"), {})
    [outcome] = await outcomes.wait_for(1)
    assert outcome.ok
    assert outcome.seconds < 3
    os.kill(int(outcome.output), signal.SIGKILL)


async def test_only_the_end_of_a_long_output_is_kept(
    runner: ScriptRunner, outcomes: Outcomes
) -> None:
    runner.submit("a", sh("head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end"), {})
    [outcome] = await outcomes.wait_for(1)
    assert outcome.ok
    assert outcome.output.endswith("x\nthe end")
    assert MAX_OUTPUT - 2 <= len(outcome.output) <= MAX_OUTPUT


async def test_a_flood_of_output_leaves_the_loop_free(outcomes: Outcomes) -> None:
    runner = ScriptRunner(outcomes, deadline=1, kill_delay=0.1)
    runner.submit("a", Script(("/usr/bin/yes",)), {})
    before = time.process_time()
    [outcome] = await outcomes.wait_for(1)
    assert outcome.timed_out
    assert time.process_time() - before < 0.25
    await runner.close(1)


async def test_close_waits_then_kills_and_drops(outcomes: Outcomes, tmp_path: Path) -> None:
    runner = ScriptRunner(outcomes)
    runner.submit("quick", sh("sleep 0.1; echo done"), {})
    runner.submit("slow", sh(f"echo $$ > {tmp_path}/pid; exec sleep 60"), {})
    runner.submit("slow", sh("echo never"), {})
    await runner.close(1)
    quick, slow, dropped = outcomes.all
    assert quick.output == "done"
    assert (slow.timed_out, slow.signal) == (True, signal.SIGTERM)
    assert (dropped.error, dropped.status) == ("dropped at stop", None)
    assert not alive(int((tmp_path / "pid").read_text()))
    with pytest.raises(RuntimeError, match="closed"):
        runner.submit("slow", sh("echo never"), {})


async def test_close_without_scripts_is_quick(runner: ScriptRunner, outcomes: Outcomes) -> None:
    await runner.close(60)
    assert outcomes.all == []


async def test_a_script_that_a_dying_host_did_not_start_is_run_by_the_next(
    runner: ScriptRunner,
    outcomes: Outcomes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (scripts, script_runs):
        monkeypatch.setattr(module, "HOST_PAUSE", 0.1)
    runner.submit("a", sh("echo $PPID"), {})
    [first] = await outcomes.wait_for(1)
    os.kill(int(first.output), signal.SIGKILL)
    ran = tmp_path / "ran"
    runner.submit("a", sh(f"echo once >> {ran}"), {})
    runner.submit("b", sh(f"echo once >> {ran}"), {})
    for outcome in (await outcomes.wait_for(3))[1:]:
        assert outcome.ok, outcome.error
    assert ran.read_text() == "once\nonce\n"


async def test_a_script_goes_on_where_we_are_killed(tmp_path: Path) -> None:
    code = f"""
import asyncio
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.scripts import ScriptRunner

async def main():
    text = "echo $$ > {tmp_path}/began; sleep 0.5; echo end > {tmp_path}/ended"
    ScriptRunner(print).submit("a", Script(("/bin/sh", "-c", text)), {{}})
    await asyncio.sleep(60)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    await until((tmp_path / "began").exists)
    process.kill()
    await process.wait()
    await until((tmp_path / "ended").exists)


@pytest.mark.root
async def test_a_daemon_with_a_user_of_its_own_runs_scripts_as_others() -> None:
    code = """
import asyncio
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.scripts import ScriptRunner

async def main():
    told = []
    runner = ScriptRunner(told.append)
    text = "id -un; grep -c 'CapEff.*0000000000000000' /proc/self/status"
    runner.submit("a", Script(("/bin/sh", "-c", text), "nobody"), {})
    while not told:
        await asyncio.sleep(0.01)
    print(told[0].output or told[0].error)
    await runner.close(1)

asyncio.run(main())
"""
    rights = "+setuid,+setgid,+kill,+sys_nice"
    done = await asyncio.to_thread(
        subprocess.run,
        ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups",
         f"--inh-caps={rights}", f"--ambient-caps={rights}", sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["nobody", "1"], done.stderr


@pytest.mark.root
async def test_security_refuses_what_others_may_write(
    runner: ScriptRunner, outcomes: Outcomes, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o757)
    runner.submit("a", Script((str(script),)), {})
    runner.configure(secure=True, ready=True)
    [outcome, *_] = await outcomes.wait_for(1)
    assert outcome.error == f"not run as root: {script} is writable by everybody"
    script.chmod(0o755)
    runner.submit("a", Script((str(script),)), {})
    assert (await outcomes.wait_for(2))[1].ok


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "group", "ids"),
    [
        ("nobody", "", "nobody nogroup nogroup"),
        ("nobody", "daemon", "nobody daemon daemon"),
        ("", "daemon", "root daemon daemon"),
    ],
)
async def test_user_and_group(
    runner: ScriptRunner, outcomes: Outcomes, user: str, group: str, ids: str
) -> None:
    text = "echo $(id -un) $(id -gn) $(id -Gn)"
    runner.submit("a", Script(("/bin/sh", "-c", text), user, group), {})
    [outcome] = await outcomes.wait_for(1)
    assert outcome.output == ids


async def test_a_user_whom_nobody_knows_in_time_holds_up_no_other_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()
    asked: list[str] = []

    def hang(user: str, _group: str) -> Identity:
        asked.append(user)
        over.wait(10)
        return OURSELVES

    monkeypatch.setattr(script_host, "identity", hang)
    monkeypatch.setattr(script_host, "LOOK_UP", 0.05)
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    ours, theirs = packet_pair()
    host = asyncio.create_task(script_host._Host(theirs).serve())
    role = Packets(loop, ours, answers.put_nowait, lambda: None)
    decoder: msgspec.json.Decoder[ToRole] = msgspec.json.Decoder(ToRole)

    async def ran(number: int, user: str) -> ToRole:
        role.send(msgspec.json.encode(Run(number, ("/bin/true",), user, "")))
        async with asyncio.timeout(10):
            while True:
                answer = decoder.decode(await answers.get())
                if isinstance(answer, Ended | Unstarted):
                    return answer

    for number in range(7):
        late = await ran(number, "somebody")
        assert late == Unstarted(number, "its user and group are not known in time")
    assert asked == ["somebody"]
    assert isinstance(await ran(7, ""), Ended)
    over.set()
    assert isinstance(await ran(8, "somebody"), Ended)
    over.clear()
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + script_host.KNOWN_FOR + 1)
    monkeypatch.setattr(script_host, "LOOK_UP", 60.0)
    assert isinstance(await ran(9, "somebody"), Ended)
    assert asked == ["somebody", "somebody"]
    over.set()
    role.close()
    await host
