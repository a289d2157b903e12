import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lvskeeper.errors import OperatorError
from lvskeeper.kernel.processes import (
    Exited,
    Forked,
    ProcessEvent,
    ProcessEvents,
    ProcessEventsLostError,
    Renamed,
    command,
    processes,
    short_name,
)

root = pytest.mark.root
OPEN = "from lvskeeper.kernel.processes import ProcessEvents as P; P()"


def collect(
    events: ProcessEvents, enough: Callable[[list[ProcessEvent]], bool]
) -> list[ProcessEvent]:
    found: list[ProcessEvent] = []
    until = time.monotonic() + 10
    while not enough(found):
        assert time.monotonic() < until, found
        select.select([events], [], [], 0.1)
        found += events.read(64)
    return found


@root
def test_a_program_forks_runs_and_ends() -> None:
    with ProcessEvents() as events:
        child = subprocess.Popen(["/bin/sleep", "0.01"])
        child.wait()
        found = collect(events, lambda found: Exited(child.pid) in found)
    mine = [event for event in found if event.pid == child.pid]
    assert mine == [Forked(os.getpid(), child.pid), Renamed(child.pid), Exited(child.pid)]


@root
def test_a_new_name_is_told_and_what_threads_do_is_not() -> None:
    code = (
        "import ctypes, threading, os\n"
        "def f(): ctypes.CDLL(None).prctl(15, b'athread', 0, 0, 0)\n"
        "for _ in range(5): t = threading.Thread(target=f); t.start(); t.join()\n"
        "ctypes.CDLL(None).prctl(15, b'renamed', 0, 0, 0)\n"
    )
    with ProcessEvents() as events:
        child = subprocess.Popen([sys.executable, "-c", code])
        child.wait()
        found = collect(events, lambda found: Exited(child.pid) in found)
    mine = [event for event in found if event.pid == child.pid]
    assert mine[0] == Forked(os.getpid(), child.pid)
    assert mine[1:-1] == [Renamed(child.pid)] * 2  # its program, and its name
    assert mine[-1] == Exited(child.pid)
    assert not [event for event in found if isinstance(event, Forked) and event.parent == child.pid]


@root
def test_more_than_the_socket_holds_is_told_as_lost() -> None:
    with ProcessEvents() as events:
        events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for _ in range(20):
            subprocess.run(["/bin/true"], check=True)
        with pytest.raises(ProcessEventsLostError):
            events.read(1000)
        assert len(events.read(1000)) < 60, "the rest of what it could hold"
        events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        child = subprocess.Popen(["/bin/true"])
        child.wait()
        assert collect(events, lambda found: Forked(os.getpid(), child.pid) in found)


@root
def test_no_more_is_read_than_asked_for() -> None:
    with ProcessEvents() as events:
        for _ in range(3):
            subprocess.run(["/bin/true"], check=True)
        assert len(events.read(2)) == 2


@root
@pytest.mark.parametrize(
    ("namespace", "reason"),
    [("--net", "first network namespace"), ("--pid", "first PID namespace")],
)
def test_another_namespace_is_told_nothing_and_why(namespace: str, reason: str) -> None:
    done = subprocess.run(
        ["unshare", namespace, "--fork", sys.executable, "-c", OPEN],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert f"{OperatorError.__name__}: the kernel tells of processes in the {reason}" in done.stderr


def test_name_and_arguments_of_a_process() -> None:
    child = subprocess.Popen(
        ["a b", "-c", "echo $$; read x; exit 0", "", "last"],
        executable="/bin/sh",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout
    with child:
        child.stdout.readline()
        assert child.pid in processes()
        assert short_name(child.pid) == "sh"
        assert command(child.pid) == ("a b", "-c", "echo $$; read x; exit 0", "", "last")
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid in processes()
        assert short_name(child.pid) is None, "a zombie"
        assert command(child.pid) == ()
    assert short_name(child.pid) is None
    assert command(child.pid) == ()


def test_a_name_with_parentheses_and_spaces(tmp_path: Path) -> None:
    program = tmp_path / "x) R (y z and more"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "60"])
    try:
        assert short_name(child.pid) == "x) R (y z and m"
    finally:
        child.kill()
        child.wait()


def test_threads_are_no_processes() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id not in processes()
        assert os.getpid() in processes()
    finally:
        done.set()
        thread.join()
