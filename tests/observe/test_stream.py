"""A role's log: written without waiting, whoever reads or does not."""

import asyncio
import fcntl
import os
import socket
import time
from pathlib import Path

import pytest

from lvskeeper.observe.events import Level, QuorumLost
from lvskeeper.observe.log import LogFormat, make_emit
from lvskeeper.observe.stream import RoleStream

EVENT = QuorumLost("tcp 192.0.2.1:80", 0, 1, "")


def read_all(number: int) -> bytes:
    os.set_blocking(number, False)
    found = b""
    try:
        while more := os.read(number, 1 << 20):
            found += more
    except BlockingIOError:
        pass
    return found


def test_a_pipe_that_nobody_reads_makes_nobody_wait() -> None:
    reader, writer = os.pipe()
    stream = RoleStream(writer, limit=10_000)
    emit = make_emit("router", LogFormat.JSON, Level.INFO, stream)
    started = time.monotonic()
    for _ in range(2_000):
        emit(EVENT)

    assert time.monotonic() - started < 5
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK, "others write to it too"

    seen = b""
    for _ in range(3):
        seen += read_all(reader)
        emit(EVENT)
    seen += read_all(reader)
    lines = seen.decode().splitlines()
    lost = [line for line in lines if "log_lines_lost" in line]
    assert len(lost) == 1
    count = int(lost[0].split('"lines": ')[1].rstrip("}"))
    assert len(lines) - 1 + count == 2_003
    stream.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.asyncio
async def test_what_waits_is_written_when_the_reader_comes_back() -> None:
    reader, writer = os.pipe()
    stream = RoleStream(writer)
    text = "x" * 79 + "\n"
    for _ in range(2_000):
        stream.write(text)
    seen = b""
    async with asyncio.timeout(10):
        while len(seen) < 160_000:
            seen += read_all(reader)
            await asyncio.sleep(0)

    assert seen.decode() == text * 2_000
    stream.close()
    os.close(reader)
    os.close(writer)


def test_a_socket_is_written_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    stream = RoleStream(theirs.fileno(), limit=1_000)
    for _ in range(10_000):
        stream.write("y" * 99 + "\n")

    assert theirs.getblocking()
    seen = b""
    while not seen.endswith(b"end\n"):
        seen += read_all(ours.fileno())
        stream.write("end\n")
    assert set(seen.split(b"\n")) <= {b"y" * 99, b"end", b""}
    assert stream.take_lost() > 0
    stream.close()
    ours.close()
    theirs.close()


def test_a_reader_that_is_gone_is_no_reason_to_stop() -> None:
    reader, writer = os.pipe()
    stream = RoleStream(writer)
    os.close(reader)
    make_emit("router", LogFormat.JSON, Level.INFO, stream)(EVENT)
    with pytest.raises(BrokenPipeError):
        stream.write("z")
    stream.close()
    os.close(writer)


def test_who_writes_to_a_file_shares_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        stream = RoleStream(file.fileno())
        file.write(b"supervisor\n")
        stream.write("router\n")
        file.write(b"supervisor\n")
        stream.close()
    assert path.read_text() == "supervisor\nrouter\nsupervisor\n"
