import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from lvskeeper.daemon.process import describe_status, end_on_bug, spawn


def test_a_child_talks_over_its_channel_and_its_status_is_told() -> None:
    def main(sock: socket.socket) -> int:
        sock.sendall(sock.recv(100).upper())
        return 7

    child = spawn("echo", main)
    child.sock.sendall(b"hello")

    assert child.sock.recv(100) == b"HELLO"
    _, status = os.waitpid(child.pid, 0)
    assert describe_status(status) == "exit status 7"
    child.sock.close()
    child.release()


def test_a_child_sees_the_end_of_its_channel_though_siblings_live() -> None:
    def wait_for_end(sock: socket.socket) -> int:
        while sock.recv(100):
            pass
        return 0

    first = spawn("first", wait_for_end)
    second = spawn("second", wait_for_end)
    first.sock.close()
    first.release()

    _, status = os.waitpid(first.pid, 0)

    assert describe_status(status) == "exit status 0"
    second.sock.close()
    second.release()
    os.waitpid(second.pid, 0)


def test_an_exception_in_a_child_is_an_internal_error() -> None:
    def main(_sock: socket.socket) -> int:
        raise RuntimeError("broken on purpose")

    child = spawn("broken", main)

    _, status = os.waitpid(child.pid, 0)

    assert describe_status(status) == "exit status 70"
    child.sock.close()
    child.release()


def test_a_signal_is_named() -> None:
    assert describe_status(9) == "killed by SIGKILL"


def test_a_broken_callback_ends_a_role_rather_than_half_of_it() -> None:
    def main(_sock: socket.socket) -> int:
        async def role() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(end_on_bug)
            loop.call_soon(lambda: 1 // 0)
            await asyncio.sleep(60)

        asyncio.run(role())
        return 0

    child = spawn("role", main)
    _, status = os.waitpid(child.pid, 0)
    child.sock.close()
    child.release()

    assert describe_status(status) == "exit status 70"


def test_programs_of_a_child_can_be_stopped_by_signals() -> None:
    def main(sock: socket.socket) -> int:
        status = subprocess.run(
            ["cat", "/proc/self/status"], capture_output=True, text=True, check=True
        ).stdout
        ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
        sock.sendall(ignored.split()[1].encode())
        return 0

    child = spawn("runner", main)
    ignored = int(child.sock.recv(100), 16)
    os.waitpid(child.pid, 0)
    child.sock.close()
    child.release()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert not ignored & (1 << (number - 1)), number.name


def test_a_child_that_is_to_die_with_its_parent_does() -> None:
    def parent(sock: socket.socket) -> int:
        def hangs(_sock: socket.socket) -> int:
            time.sleep(60)
            return 0

        grandchild = spawn("hangs", hangs, die_with_parent=True)
        sock.sendall(str(grandchild.pid).encode())
        time.sleep(0.2)
        return 0

    child = spawn("parent", parent)
    grandchild = int(child.sock.recv(100))
    os.waitpid(child.pid, 0)
    child.sock.close()
    child.release()

    for _ in range(200):
        if not _runs(grandchild):
            break
        time.sleep(0.01)
    assert not _runs(grandchild)


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie, whose reaper may be slow."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
