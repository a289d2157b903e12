"""Where the log goes: syslog and a file that may be moved away, and nobody waits for them."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lvskeeper.errors import OperatorError
from lvskeeper.observe.compat import Compat
from lvskeeper.observe.events import Level, QuorumLost, SysctlSet
from lvskeeper.observe.log import LogFormat, make_emit
from lvskeeper.observe.log_file import await_writer, start_writer
from lvskeeper.observe.outlets import Log, LogSettings
from lvskeeper.observe.syslog import SyslogStream, facility

EVENT = QuorumLost("tcp 192.0.2.1:80", 0, 1, "")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def syslog(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        made.setblocking(False)
        yield made
    path.unlink()


def test_syslog_gets_facility_and_level(tmp_path: Path) -> None:
    with syslog(tmp_path / "log") as reader:
        stream = SyslogStream(facility("local3"), "lvskeeper-director", tmp_path / "log")
        make_emit("director", LogFormat.SYSLOG, Level.INFO, stream, Compat.BESIDE)(EVENT)
        ours, theirs = reader.recv(4096).decode(), reader.recv(4096).decode()
        stream.close()
    assert re.fullmatch(
        rf"<{19 * 8 + 3}>\w\w\w [ \d]\d \d\d:\d\d:\d\d lvskeeper-director\[{os.getpid()}\]: "
        r'quorum_lost role=director virtual_server="tcp 192.0.2.1:80" weight=0 needed=1',
        ours,
    )
    assert theirs.startswith(f"<{19 * 8 + 6}>")
    assert theirs.endswith("Lost quorum 1 > 0 for VS [192.0.2.1]:tcp:80")
    assert f"Keepalived_healthcheckers[{os.getpid()}]: " in theirs


def count_waiting(reader: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while reader.recv(4096):
            count += 1
    return count


def test_a_syslog_that_does_not_read_makes_nobody_wait_and_is_told_of_its_losses(
    tmp_path: Path,
) -> None:
    with syslog(tmp_path / "log") as reader:
        stream = SyslogStream(3, "lvskeeper", tmp_path / "log")
        emit = make_emit("director", LogFormat.SYSLOG, Level.INFO, stream)
        began = time.monotonic()
        for _ in range(3000):
            emit(EVENT)
        assert time.monotonic() - began < 5
        got = count_waiting(reader)
        emit(EVENT)
        lost = reader.recv(4096).decode()
        stream.close()
    assert int(lost.rpartition("lines=")[2]) + got == 3000
    assert got < 3000


def test_a_syslog_that_was_started_again_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.observe.syslog.PAUSE", 0.0)
    stream = SyslogStream(3, "lvskeeper", tmp_path / "log")
    stream.write("<6>nobody is there\n")
    with syslog(tmp_path / "log") as reader:
        stream.write("<6>first\n")
        assert reader.recv(100).endswith(b"first")
    stream.write("<6>lost\n")
    with syslog(tmp_path / "log") as reader:
        stream.write("<6>second\n")
        assert reader.recv(100).endswith(b"second")
        assert stream.take_lost() == 2
    stream.close()


def test_facilities_are_named_as_keepalived_does() -> None:
    assert [facility(name) for name in ("daemon", "local0", "0", "7", "USER")] == [3, 16, 16, 23, 1]
    with pytest.raises(OperatorError, match="no syslog facility 'local9'"):
        facility("local9")


@contextmanager
def logging_to(file: Path, level: Level = Level.INFO) -> Iterator[Log]:
    writer, pid = start_writer(file)
    log = Log("director", LogSettings(console=False, file=writer, level=level))
    try:
        yield log
    finally:
        log.finish(5.0)
        os.close(writer)
        await_writer(pid)


def test_a_file_has_time_level_and_fields(tmp_path: Path) -> None:
    file = tmp_path / "lvskeeper.log"
    with logging_to(file) as log:
        log.emit(EVENT)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z error quorum_lost role=director "
        r'virtual_server="tcp 192\.0\.2\.1:80" weight=0 needed=1\n',
        file.read_text(),
    )
    assert file.stat().st_mode & 0o777 == 0o640 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not here")
def test_logrotate_needs_no_signal(tmp_path: Path) -> None:
    file, state = tmp_path / "lvskeeper.log", tmp_path / "state"
    rules = tmp_path / "rules"
    rules.write_text(f"{file} {{\n rotate 3\n nocreate\n}}\n")
    tmp_path.chmod(0o700)
    with logging_to(file) as log:
        log.emit(SysctlSet("first", "0", "1"))
        wait_until(lambda: "first" in file.read_text())
        subprocess.run(["logrotate", "-f", "-s", state, rules], check=True, capture_output=True)
        assert not file.exists()
        time.sleep(1.1)  # the file is looked at once a second
        log.emit(SysctlSet("second", "0", "1"))
        wait_until(file.exists)
        wait_until(lambda: "second" in file.read_text())
    assert "first" in file.with_name("lvskeeper.log.1").read_text()
    assert "first" not in file.read_text()


def test_a_file_that_nobody_can_write_stops_nothing() -> None:
    with logging_to(Path("/dev/full")) as log:
        began = time.monotonic()
        for number in range(2000):
            log.emit(SysctlSet(str(number), "0", "1"))
        assert time.monotonic() - began < 5


def test_a_place_that_does_not_exist_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="No such file or directory"):
        start_writer(tmp_path / "none" / "x.log")


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "lvskeeper.log"
    with logging_to(file, level=Level.DEBUG) as log:
        for number in range(3000):
            log.emit(SysctlSet(f"number-{number}", "0", "1"))
    assert file.read_text().count("\n") == 3000
