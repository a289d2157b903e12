import os
import socket

from lvskeeper.daemon.process import describe_status, spawn


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
