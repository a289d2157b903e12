import asyncio
import os
import pwd
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.hung_directory import PATIENCE, hung
from support.waiting import until

from lvskeeper.daemon import fifo_reader
from lvskeeper.daemon.notify import Notifier
from lvskeeper.daemon.notify_scripts import MAX_EVENTS
from lvskeeper.daemon.roles import Fifo, Script
from lvskeeper.daemon.router_spec import GroupConfig, InstanceConfig, Notifies, RouterSpec
from lvskeeper.daemon.scripts import ScriptOutcome
from lvskeeper.vrrp.spec import GroupSpec, InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Rules

pytestmark = pytest.mark.asyncio


def sh(text: str) -> Script:
    return Script(("/bin/sh", "-c", text))


def open_to_others(folder: Path) -> None:
    """Let every user in; pytest makes its folders, up to the one of its user, for ours alone."""
    for place in (folder, *folder.parents):
        place.chmod(0o755)
        if place.name.startswith("pytest-of-"):
            break


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def mode(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


def there(path: Path) -> bool:
    return path.exists()


def alive(pid: int) -> bool:
    """Whether *pid* is a process that has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Bench:
    """A notifier, and what it told."""

    def __init__(self) -> None:
        self.scripts: list[ScriptOutcome] = []
        self.problems: list[str] = []
        self.notifier = Notifier(
            self.scripts.append,
            self.problems.append,
            script_deadline=5,
            kill_delay=0.3,
            reader_pause=0.05,
        )

    async def ran(self, count: int) -> list[ScriptOutcome]:
        await until(lambda: len(self.scripts) >= count)
        return self.scripts

    async def told(self, words: str) -> str:
        await until(lambda: any(words in problem for problem in self.problems))
        return next(problem for problem in self.problems if words in problem)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.notifier.close(0)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    return tmp_path / "pipe"


@pytest.fixture
def precious(pipe: Path) -> Path:
    """A file where a pipe is wanted."""
    pipe.write_text("precious")
    return pipe


def content(path: Path) -> str:
    return path.read_text()


class Ear:
    """Somebody who has the pipe open for reading."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def hear(self) -> list[str]:
        text = b""
        try:
            while more := os.read(self._fd, 65536):
                text += more
        except BlockingIOError:
            pass
        return text.decode().splitlines()

    def close(self) -> None:
        os.close(self._fd)


def fifos(*all_: Fifo, security: bool = False) -> RouterSpec:
    return RouterSpec(router_id="lb1", fifos=all_, script_security=security)


def grouped() -> RouterSpec:
    """Two instances of one sync group G1."""
    keys = [InstanceKey("eth0", 4, number) for number in (1, 2)]
    return RouterSpec(
        router_id="lb1",
        instances=tuple(
            InstanceConfig(InstanceSpec(key, f"VI_{key.vrid}"), Rules(2, key.vrid, 1.0))
            for key in keys
        ),
        groups=(GroupConfig(GroupSpec("G1", tuple(keys))),),
    )


ALL = Notifies(
    master=sh("echo master $# $LVSKEEPER_STATE"),
    backup=sh("echo backup $# $LVSKEEPER_STATE"),
    fault=sh("echo fault $# $LVSKEEPER_STATE"),
    stop=sh("echo stop $# $LVSKEEPER_STATE"),
    any=Script(("/bin/echo", "any")),
    lower_heard=sh("echo lower $# $LVSKEEPER_STATE"),
)


async def test_scripts_get_the_arguments_of_keepalived(bench: Bench) -> None:
    notifier = bench.notifier
    notifier.entered("INSTANCE", "VI_1", State.INIT, 100, ALL)
    notifier.entered("INSTANCE", "VI_1", State.BACKUP, 100, ALL)
    notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, ALL)
    notifier.lower_heard("VI_1", 100, ALL)
    notifier.entered("INSTANCE", "VI_1", State.FAULT, 90, ALL)
    notifier.stopped("INSTANCE", "VI_1", 90, ALL)
    outcomes = await bench.ran(9)
    assert [outcome.output for outcome in outcomes] == [
        "backup 0 BACKUP",
        "any INSTANCE VI_1 BACKUP 100",
        "master 0 MASTER",
        "any INSTANCE VI_1 MASTER 100",
        "lower 0 MASTER_RX_LOWER_PRI",
        "fault 0 FAULT",
        "any INSTANCE VI_1 FAULT 90",
        "stop 0 STOP",
        "any INSTANCE VI_1 STOP 90",
    ]
    assert {outcome.subject for outcome in outcomes} == {"instance VI_1"}


async def test_a_group_has_priority_0(bench: Bench) -> None:
    bench.notifier.entered("GROUP", "G1", State.MASTER, 100, ALL)
    outcomes = await bench.ran(2)
    assert [(outcome.subject, outcome.output) for outcome in outcomes] == [
        ("group G1", "master 0 MASTER"),
        ("group G1", "any GROUP G1 MASTER 0"),
    ]


async def test_what_a_reload_removes_is_deleted_or_in_fault(bench: Bench) -> None:
    bench.notifier.deleted("INSTANCE", "VI_1", 100, ALL)
    bench.notifier.deleted(
        "INSTANCE", "VI_2", 100, Notifies(fault=sh("exit 9"), deleted=sh("echo d"), any=ALL.any)
    )
    outcomes = {outcome.output: outcome.subject for outcome in await bench.ran(4)}
    assert outcomes == {
        "fault 0 FAULT": "instance VI_1",
        "any INSTANCE VI_1 FAULT 100": "instance VI_1",
        "d": "instance VI_2",
        "any INSTANCE VI_2 DELETED 100": "instance VI_2",
    }


async def test_facts_are_in_the_environment(bench: Bench) -> None:
    bench.notifier.replace(RouterSpec(router_id="lb1"))
    notifies = Notifies(master=Script(("/usr/bin/env",)), backup=Script(("/usr/bin/env",)))
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, notifies, cause="peer is silent")
    bench.notifier.entered("GROUP", "G1", State.BACKUP, 0, notifies)
    outcomes = await bench.ran(2)
    told = {
        outcome.subject: [line for line in outcome.output.split("\n") if "LVSKEEPER" in line]
        for outcome in outcomes
    }
    assert told == {
        "instance VI_1": [
            "LVSKEEPER_INSTANCE=VI_1",
            "LVSKEEPER_STATE=MASTER",
            "LVSKEEPER_PRIORITY=100",
            "LVSKEEPER_CAUSE=peer is silent",
            "LVSKEEPER_ROUTER_ID=lb1",
        ],
        "group G1": [
            "LVSKEEPER_GROUP=G1",
            "LVSKEEPER_STATE=BACKUP",
            "LVSKEEPER_PRIORITY=0",
            "LVSKEEPER_ROUTER_ID=lb1",
        ],
    }


async def test_a_group_does_not_run_again_what_a_member_ran(bench: Bench) -> None:
    bench.notifier.replace(grouped())
    same, other = sh("echo same"), sh("echo other")
    members = Notifies(master=same, backup=same)
    group = Notifies(master=same, backup=other, any=Script(("/bin/echo", "any")))
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, members)
    bench.notifier.entered("GROUP", "G1", State.MASTER, 0, group)
    bench.notifier.entered("INSTANCE", "VI_1", State.BACKUP, 100, members)
    bench.notifier.entered("GROUP", "G1", State.BACKUP, 0, group)
    bench.notifier.entered("GROUP", "G1", State.MASTER, 0, group)
    outcomes = await bench.ran(7)
    of_group = [outcome.output for outcome in outcomes if outcome.subject == "group G1"]
    assert of_group == [
        "any GROUP G1 MASTER 0",
        "other",
        "any GROUP G1 BACKUP 0",
        "same",
        "any GROUP G1 MASTER 0",
    ]


async def test_order_under_load(bench: Bench, tmp_path: Path) -> None:
    def notifies(number: int) -> Notifies:
        log = tmp_path / str(number)
        text = f"echo $1 $4 >> {log}; sleep 0.00$(($$ % 10))"
        one = Script(("/bin/sh", "-c", f"echo bare >> {log}", "sh"))
        return Notifies(master=one, backup=one, any=Script(("/bin/sh", "-c", text, "sh")))

    turns = MAX_EVENTS
    for turn in range(turns):
        for number in range(10):
            state = State.BACKUP if turn % 2 else State.MASTER
            bench.notifier.entered("INSTANCE", f"VI_{number}", state, turn, notifies(number))
    outcomes = await bench.ran(2 * 10 * turns)
    assert all(outcome.ok for outcome in outcomes)
    wanted = [line for turn in range(turns) for line in ("bare", f"INSTANCE {turn}")]
    for number in range(10):
        assert (tmp_path / str(number)).read_text().splitlines() == wanted


async def test_too_many_events_leave_all_scripts_of_the_latest_state(bench: Bench) -> None:
    slow = Notifies(backup=sh("sleep 0.3; echo slow"))
    bench.notifier.entered("INSTANCE", "VI_1", State.BACKUP, 0, slow)
    for number in range(MAX_EVENTS + 1):
        bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, number, ALL)
    for _ in range(5):
        bench.notifier.lower_heard("VI_1", 100, ALL)
    outcomes = await bench.ran(4)
    assert [(outcome.output, outcome.skipped) for outcome in outcomes] == [
        ("slow", 0),
        ("master 0 MASTER", 2 * MAX_EVENTS),
        (f"any INSTANCE VI_1 MASTER {MAX_EVENTS}", 0),
        ("lower 0 MASTER_RX_LOWER_PRI", 4),
    ]


async def test_a_script_that_hangs_is_killed_and_the_next_event_runs() -> None:
    outcomes: list[ScriptOutcome] = []
    notifier = Notifier(outcomes.append, lambda _: None, script_deadline=0.3, kill_delay=0.2)
    hang = Notifies(backup=sh("trap '' TERM; sleep 60"), master=sh("echo on"))
    notifier.entered("INSTANCE", "VI_1", State.BACKUP, 100, hang)
    notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, hang)
    await until(lambda: len(outcomes) == 2)
    assert (outcomes[0].timed_out, outcomes[1].output) == (True, "on")
    await notifier.close(1)


async def test_close_lets_stop_scripts_run(bench: Bench) -> None:
    slow = Notifies(master=sh("sleep 0.2; echo master"), stop=sh("echo stop"))
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, slow)
    bench.notifier.stopped("INSTANCE", "VI_1", 100, slow)
    await bench.notifier.close(5)
    assert [outcome.output for outcome in bench.scripts] == ["master", "stop"]


async def test_close_drops_what_does_not_fit_and_tells_it(bench: Bench) -> None:
    slow = Notifies(master=sh("sleep 60"), stop=sh("echo stop"), any=Script(("/bin/echo",)))
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, slow)
    bench.notifier.stopped("INSTANCE", "VI_1", 100, slow)
    start = time.monotonic()
    await bench.notifier.close(0.2)
    bench.notifier.stopped("INSTANCE", "VI_1", 100, slow)
    assert time.monotonic() - start < 3
    first, *others = bench.scripts
    assert first.signal == signal.SIGTERM
    assert [outcome.error for outcome in others] == ["dropped at stop"] * 5


@pytest.mark.root
async def test_security_refuses_what_others_may_write_for_root_only(
    bench: Bench, tmp_path: Path
) -> None:
    open_to_others(tmp_path)
    weak = tmp_path / "weak"
    weak.write_text("#!/bin/sh\nid -un\n")
    weak.chmod(0o777)
    notifies = Notifies(
        master=Script((str(weak),)), backup=Script((str(weak),), user="nobody"), any=ALL.any
    )
    bench.notifier.replace(RouterSpec(script_security=True))
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, notifies)
    bench.notifier.entered("INSTANCE", "VI_1", State.BACKUP, 100, notifies)
    outcomes = await bench.ran(4)
    assert outcomes[0].error == f"not run as root: {weak} is writable by everybody"
    assert not outcomes[0].ok
    assert [outcome.output for outcome in outcomes[1:]] == [
        "any INSTANCE VI_1 MASTER 100",
        "nobody",
        "any INSTANCE VI_1 BACKUP 100",
    ]
    bench.notifier.replace(RouterSpec())
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, notifies)
    assert (await bench.ran(5))[4].output == "root"


async def test_lines_of_a_fifo_are_those_of_keepalived(bench: Bench, pipe: Path) -> None:
    notifier = bench.notifier
    notifier.replace(fifos(Fifo(str(pipe))))
    assert (mode(pipe), owner(pipe)) == ("prw-------", (os.geteuid(), os.getegid()))
    ear = Ear(pipe)
    nothing, priorities = Notifies(), Notifies(priority_changes=True)
    notifier.entered("INSTANCE", "VI_1", State.BACKUP, 100, nothing)
    notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, nothing)
    notifier.entered("GROUP", "G1", State.MASTER, 100, nothing)
    notifier.lower_heard("VI_1", 100, nothing)
    notifier.priority_changed("VI_1", State.MASTER, 90, nothing)
    notifier.priority_changed("VI_1", State.MASTER, 90, priorities)
    notifier.priority_changed("VI_1", State.FAULT, 80, priorities)
    notifier.deleted("INSTANCE", "VI_1", 80, Notifies(deleted=sh("true")))
    notifier.stopped("GROUP", "G1", 0, nothing)
    assert ear.hear() == [
        'INSTANCE "VI_1" BACKUP 100',
        'INSTANCE "VI_1" MASTER 100',
        'GROUP "G1" MASTER 0',
        'INSTANCE "VI_1" MASTER_RX_LOWER_PRI 100',
        'INSTANCE "VI_1" MASTER_PRIORITY 90',
        'INSTANCE "VI_1" BACKUP_PRIORITY 80',
        'INSTANCE "VI_1" DELETED 80',
        'GROUP "G1" STOP 0',
    ]
    assert bench.problems == []
    await notifier.close(5)
    ear.close()
    assert not there(pipe)


@pytest.mark.root
async def test_a_fifo_gets_the_owner_that_is_configured(bench: Bench, pipe: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    bench.notifier.replace(fifos(Fifo(str(pipe), "nobody", "root")))
    await until(lambda: owner(pipe) == (nobody.pw_uid, 0))
    bench.notifier.replace(fifos(Fifo(str(pipe), "nobody")))
    await until(lambda: owner(pipe) == (nobody.pw_uid, nobody.pw_gid))
    bench.notifier.replace(fifos(Fifo(str(pipe), "no-such-user")))
    assert "no-such-user" in await bench.told("owner cannot be set")


HUNG = """
import asyncio, sys
from functools import partial
from lvskeeper.daemon.notify import Notifier
from lvskeeper.daemon.roles import Fifo
from lvskeeper.daemon.router_spec import RouterSpec

async def main():
    notifier = Notifier(print, partial(print, flush=True))
    notifier.replace(RouterSpec(fifos=(Fifo(sys.argv[1], "somebody"),)))
    await asyncio.sleep(0.1)
    print("it goes on", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await notifier.close(0)

asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.parametrize("answered", [True, False])
async def test_nothing_waits_for_a_directory_service_that_hangs(
    pipe: Path, tmp_path: Path, *, answered: bool
) -> None:
    directory = tmp_path / "passwd"
    async with hung("/etc/passwd", directory, HUNG, str(pipe)) as process:
        assert process.stdin
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"it goes on\n"
        assert (mode(pipe), owner(pipe)) == ("prw-------", (0, 0))
        if answered:
            # The system library reads no users from a pipe: there is none of that name.
            os.close(os.open(directory, os.O_WRONLY))
            told = b"nothing yet"
            while b"owner cannot be set" not in told:
                told = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
                assert told
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert not there(pipe)


async def test_a_fifo_that_is_there_is_used_and_left(bench: Bench, pipe: Path) -> None:
    os.mkfifo(pipe, 0o644)
    bench.notifier.replace(fifos(Fifo(str(pipe), "nobody")))
    ear = Ear(pipe)
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 1, Notifies())
    assert ear.hear() == ['INSTANCE "VI_1" MASTER 1']
    assert (mode(pipe), owner(pipe)) == ("prw-r--r--", (os.geteuid(), os.getegid()))
    await bench.notifier.close(5)
    ear.close()
    assert there(pipe)


async def test_another_kind_of_file_is_told_once_and_left_alone(
    bench: Bench, precious: Path, tmp_path: Path
) -> None:
    pipe = precious
    link = tmp_path / "link"
    link.symlink_to(pipe)
    missing = tmp_path / "no" / "dir"
    bench.notifier.replace(fifos(Fifo(str(pipe)), Fifo(str(link)), Fifo(str(missing))))
    for _ in range(3):
        bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 1, Notifies())
    await bench.notifier.close(5)
    assert bench.problems == [
        f"FIFO {pipe} cannot be used: something else than a FIFO is there",
        f"FIFO {link} cannot be used: something else than a FIFO is there",
        f"FIFO {missing} cannot be used: No such file or directory",
    ]
    assert content(pipe) == "precious"


async def test_a_full_pipe_drops_is_told_once_and_ends_with_the_truth(
    bench: Bench, pipe: Path
) -> None:
    notifier = bench.notifier
    notifier.replace(fifos(Fifo(str(pipe))))
    lines = 6000
    start = time.monotonic()
    for number in range(lines):
        state = State.BACKUP if number % 2 else State.MASTER
        notifier.entered("INSTANCE", f"VI_{number % 3}", state, number % 255, Notifies())
    notifier.lower_heard("VI_0", 255, Notifies())
    assert time.monotonic() - start < 2
    assert bench.problems == [f"FIFO {pipe} is full: nobody reads it, events are dropped"]

    ear = Ear(pipe)
    heard = ear.hear()
    whole = [
        f'INSTANCE "VI_{number % 3}" {("MASTER", "BACKUP")[number % 2]} {number % 255}'
        for number in range(lines)
    ]
    assert heard == whole[: len(heard)]
    assert len(heard) > 1000
    problem = await bench.told("read again")
    dropped = lines + 1 - len(heard) - 3
    assert problem == f"FIFO {pipe} is read again: {dropped} events were dropped"
    assert ear.hear() == whole[-3:]

    notifier.entered("INSTANCE", "VI_0", State.FAULT, 7, Notifies())
    assert ear.hear() == ['INSTANCE "VI_0" FAULT 7']
    assert len(bench.problems) == 2
    ear.close()


async def test_a_full_pipe_that_goes_costs_nothing(bench: Bench, pipe: Path) -> None:
    bench.notifier.replace(fifos(Fifo(str(pipe))))
    for number in range(5000):
        bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, number % 255, Notifies())
    before = time.process_time()
    await asyncio.sleep(0.3)
    assert time.process_time() - before < 0.1
    bench.notifier.replace(RouterSpec())
    assert not there(pipe)


async def test_a_name_longer_than_a_pipe_takes_at_once_is_a_problem(
    bench: Bench, pipe: Path
) -> None:
    bench.notifier.replace(fifos(Fifo(str(pipe))))
    bench.notifier.entered("INSTANCE", "x" * 5000, State.MASTER, 1, Notifies())
    assert "too long" in await bench.told("bytes")


async def test_a_reload_keeps_opens_and_closes_fifos(bench: Bench, tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    bench.notifier.replace(fifos(Fifo(str(one)), Fifo(str(two)), Fifo(str(one))))
    ear = Ear(one)
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 1, Notifies())
    before = one.stat().st_ino
    bench.notifier.replace(fifos(Fifo(str(one)), Fifo(str(three))))
    bench.notifier.entered("INSTANCE", "VI_1", State.BACKUP, 1, Notifies())
    assert ear.hear() == ['INSTANCE "VI_1" MASTER 1', 'INSTANCE "VI_1" BACKUP 1']
    assert (one.stat().st_ino, there(two), there(three)) == (before, False, True)

    one.unlink()
    bench.notifier.replace(fifos(Fifo(str(one))))
    again = Ear(one)
    bench.notifier.entered("INSTANCE", "VI_1", State.FAULT, 1, Notifies())
    assert again.hear() == ['INSTANCE "VI_1" FAULT 1']
    ear.close()
    again.close()
    assert bench.problems == []


async def test_a_pipe_that_another_role_or_somebody_removed_is_made_again(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    other = Bench()
    other.notifier.replace(fifos(Fifo(str(pipe))))
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=reader(tmp_path))))
    await until(lambda: pids(tmp_path))
    await other.notifier.close(0)
    assert not there(pipe)
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 1, Notifies())
    await until(lambda: len(pids(tmp_path)) == 2)
    await until(lambda: heard(tmp_path) == ['INSTANCE "VI_1" MASTER 1'])
    assert there(pipe)
    assert bench.problems == []


READER = 'echo $$ >> {0}/pids; while read -r line; do echo "$line" >> {0}/heard; done < "$1"'


def reader(place: Path, text: str = READER) -> Script:
    return Script(("/bin/sh", "-c", text.format(place), "reader"))


def pids(place: Path) -> list[int]:
    try:
        return [int(line) for line in (place / "pids").read_text().split()]
    except FileNotFoundError:
        return []


def heard(place: Path) -> list[str]:
    try:
        return (place / "heard").read_text().splitlines()
    except FileNotFoundError:
        return []


async def test_a_reader_gets_the_path_and_the_lines_and_ends_after_the_last(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    spec = fifos(Fifo(str(pipe), reader=reader(tmp_path)))
    bench.notifier.replace(spec)
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, Notifies())
    await until(lambda: heard(tmp_path) == ['INSTANCE "VI_1" MASTER 100'])
    bench.notifier.replace(spec)
    bench.notifier.stopped("INSTANCE", "VI_1", 100, Notifies())
    await bench.notifier.close(5)
    assert heard(tmp_path)[1:] == ['INSTANCE "VI_1" STOP 100']
    [pid] = pids(tmp_path)
    assert not alive(pid)
    assert not there(pipe)
    assert bench.problems == []


async def test_a_reader_that_dies_is_started_again_and_misses_nothing(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=reader(tmp_path))))
    await until(lambda: len(pids(tmp_path)) == 1)
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    # Until it is dead it may still take a byte
    await until(lambda: bench.problems)
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, Notifies())
    await until(lambda: heard(tmp_path) == ['INSTANCE "VI_1" MASTER 100'])
    assert len(pids(tmp_path)) == 2
    assert bench.problems == [
        f"reader /bin/sh of FIFO {pipe} ended: killed by SIGKILL; it is started again in 50 ms"
    ]


async def test_a_reader_that_cannot_live_is_tried_less_and_less_often(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    bench.notifier.replace(
        fifos(Fifo(str(pipe), reader=reader(tmp_path, "echo $$ >> {0}/pids; exit 3")))
    )
    await until(lambda: len(bench.problems) == 3)
    assert [problem.partition(" ended: ")[2] for problem in bench.problems] == [
        "exit status 3; it is started again in 50 ms",
        "exit status 3; it is started again in 100 ms",
        "exit status 3; it is started again in 200 ms",
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(("/nowhere/at/all",)), "no such file or directory"),
        (Script(("/bin/cat",), user="no-such-user"), "no-such-user"),
    ],
)
async def test_a_reader_that_cannot_start_says_why(
    bench: Bench, pipe: Path, script: Script, reason: str
) -> None:
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=script)))
    assert reason in await bench.told("cannot be started")


async def test_a_deaf_reader_is_killed_with_all_that_it_started(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    deaf = "trap '' TERM; echo $$ >> {0}/pids; sleep 60 & echo $! >> {0}/pids; wait; sleep 60"
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=reader(tmp_path, deaf))))
    await until(lambda: len(pids(tmp_path)) == 2)
    start = time.monotonic()
    await bench.notifier.close(5)
    assert time.monotonic() - start < 5
    await until(lambda: not any(alive(pid) for pid in pids(tmp_path)))


async def test_another_reader_starts_after_the_last_one_has_ended(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    slow = (
        "echo $$ >> {0}/pids; trap 'sleep 0.2; echo gone >> {0}/heard; exit' TERM;"
        "while :; do sleep 0.05; done"
    )
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=reader(tmp_path, slow))))
    await until(lambda: pids(tmp_path))
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=reader(tmp_path))))
    bench.notifier.entered("INSTANCE", "VI_1", State.MASTER, 100, Notifies())
    await until(lambda: len(heard(tmp_path)) == 2)
    assert heard(tmp_path) == ["gone", 'INSTANCE "VI_1" MASTER 100']
    bench.notifier.replace(fifos(Fifo(str(pipe))))
    await until(lambda: not any(alive(pid) for pid in pids(tmp_path)))
    assert bench.problems == []


async def test_a_reader_is_killed_by_a_broken_pipe_as_programs_usually_are(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    ignored = "grep SigIgn /proc/self/status >> {0}/heard; exec sleep 60"
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=reader(tmp_path, ignored))))
    await until(lambda: heard(tmp_path))
    mask = int(heard(tmp_path)[0].split()[1], 16)
    assert not mask & 1 << signal.SIGPIPE - 1
    assert not mask & 1 << signal.SIGXFSZ - 1


@pytest.mark.root
async def test_a_reader_runs_as_its_user(bench: Bench, pipe: Path, tmp_path: Path) -> None:
    log = tmp_path / "heard"
    log.touch()
    log.chmod(0o666)
    open_to_others(tmp_path)
    script = Script(reader(tmp_path, "id -un >> {0}/heard; exec sleep 60").argv, "nobody")
    bench.notifier.replace(fifos(Fifo(str(pipe), reader=script)))
    await until(lambda: heard(tmp_path) == ["nobody"])


@pytest.mark.root
async def test_security_refuses_a_reader_that_others_may_write(
    bench: Bench, pipe: Path, tmp_path: Path
) -> None:
    weak = tmp_path / "weak"
    weak.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    weak.chmod(0o777)
    spec = fifos(Fifo(str(pipe), reader=Script((str(weak),))), security=True)
    bench.notifier.replace(spec)
    problem = await bench.told("not run as root")
    assert problem == (
        f"reader {weak} of FIFO {pipe} is not run as root: {weak} is writable by everybody"
    )
    weak.chmod(0o755)
    assert not (tmp_path / "ran").exists()
    bench.notifier.replace(spec)
    await until((tmp_path / "ran").exists)


async def test_the_loop_turns_while_it_is_looked_at_who_may_write_a_reader(
    bench: Bench, pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: Script) -> str:
        time.sleep(0.3)
        return ""

    monkeypatch.setattr(fifo_reader, "root_risk", slow)
    spec = fifos(Fifo(str(pipe), reader=reader(tmp_path)), security=True)
    bench.notifier.replace(spec)
    begin = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - begin < 0.2
    await until(lambda: pids(tmp_path))


async def test_a_reader_dies_with_us(pipe: Path, tmp_path: Path) -> None:
    code = f"""
import asyncio
from lvskeeper.daemon.notify import Notifier
from lvskeeper.daemon.roles import Fifo, Script
from lvskeeper.daemon.router_spec import RouterSpec

async def main():
    script = Script(("/bin/sh", "-c", "echo $$ >> {tmp_path}/pids; exec sleep 60"))
    Notifier(print, print).replace(RouterSpec(fifos=(Fifo({str(pipe)!r}, reader=script),)))
    await asyncio.sleep(60)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    await until(lambda: pids(tmp_path))
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    await until(lambda: not any(alive(pid) for pid in pids(tmp_path)))
    assert there(pipe)
