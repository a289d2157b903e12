"""The supervisor with real child processes: a small director that applies into the void."""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from support.supervised import GOOD, messages, running

from lvskeeper.daemon.channel import Applied, Apply, Beat, Failed, Stop, Stopped, encode
from lvskeeper.errors import ExitStatus


def leaves_something(sock: socket.socket) -> int:
    sock.sendall(encode(Beat()))
    while found := messages(sock):
        match found[0]:
            case Apply(generation=generation):
                sock.sendall(encode(Applied(generation, 0, 0, 1, 1)))
            case Stop():
                sock.sendall(encode(Stopped(kept=False, left=("services: tcp x",))))
                return 0
    return 0


@pytest.mark.asyncio
async def test_start_and_stop(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
    assert daemon.task is not None
    assert daemon.task.result() is ExitStatus.OK
    assert [event.NAME for event in daemon.events if event.NAME != "configuration_warned"] == [
        "daemon_started",
        "daemon_ready",
        "daemon_stopping",
        "daemon_stopped",
    ]


@pytest.mark.asyncio
async def test_a_broken_file_ends_the_start_with_its_places(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD.replace("lb_algo rr", "lb_algo fastest")) as daemon:
        assert daemon.task is not None
        assert await asyncio.wait_for(daemon.task, 20) is ExitStatus.CONFIG
    assert len(daemon.named("configuration_refused")) == 1
    assert "lvskeeper.conf:4:" in daemon.report.getvalue()
    assert not (tmp_path / "applied").exists()


@pytest.mark.asyncio
async def test_a_broken_file_at_reload_never_reaches_the_director(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text(GOOD + "}")
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_refused")
        assert (tmp_path / "applied").read_text().count("\n") == 1
        daemon.file.write_text(GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied")
        assert (tmp_path / "applied").read_text().count("\n") == 2


@pytest.mark.asyncio
async def test_an_empty_file_ends_the_start(tmp_path: Path) -> None:
    async with running(tmp_path, "# nothing\n") as daemon:
        assert daemon.task is not None
        assert await asyncio.wait_for(daemon.task, 20) is ExitStatus.CONFIG
    assert "--allow-empty" in daemon.report.getvalue()
    assert not (tmp_path / "applied").exists()


@pytest.mark.asyncio
async def test_a_file_that_is_truncated_at_reload_takes_nothing_away(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text("")
        os.kill(os.getpid(), signal.SIGHUP)
        refused = await daemon.until("reload_refused")
        assert "LK0217" in str(refused)
        assert (tmp_path / "applied").read_text().count("\n") == 1


@pytest.mark.asyncio
async def test_an_empty_file_is_taken_where_it_is_allowed(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, allow_empty=True) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text("")
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied")
        assert (tmp_path / "applied").read_text().count("\n") == 2


@pytest.mark.asyncio
async def test_a_killed_director_is_started_again_with_the_same_configuration(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        pid = int((tmp_path / "applied").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        died = await daemon.until("role_died")
        for _ in range(2000):
            if (tmp_path / "applied").read_text().count("\n") == 2:
                break
            await asyncio.sleep(0.01)
        again = int((tmp_path / "applied").read_text().split()[2])
    assert "SIGKILL" in str(died)
    assert again != pid


@pytest.mark.asyncio
async def test_a_director_that_cannot_apply_ends_the_start_with_its_status(tmp_path: Path) -> None:
    def main(sock: socket.socket) -> int:
        while found := messages(sock):
            match found[0]:
                case Apply(generation=generation):
                    failed = Failed(
                        generation,
                        "no ip_vs",
                        "modprobe ip_vs",
                        ExitStatus.UNSUPPORTED,
                        intact=True,
                    )
                    sock.sendall(encode(failed))
                case Stop(remove=remove):
                    assert not remove
                    sock.sendall(encode(Stopped(kept=True)))
                    return 0
        return 0

    async with running(tmp_path, GOOD, main) as daemon:
        assert daemon.task is not None
        assert await asyncio.wait_for(daemon.task, 20) is ExitStatus.UNSUPPORTED
    assert "modprobe ip_vs" in str(daemon.named("apply_failed")[0])


@pytest.mark.asyncio
async def test_a_second_daemon_is_refused_and_names_the_first(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lvskeeper", "run", "-f", str(daemon.file)),
            *("--run-dir", str(tmp_path)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await second.communicate()
    assert second.returncode == ExitStatus.BUSY
    assert f"another lvskeeper (pid {os.getpid()}) uses {tmp_path}" in errors.decode()


@pytest.mark.asyncio
async def test_a_stop_during_the_start_is_heeded_at_once(tmp_path: Path) -> None:
    def never_answers(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        while found := messages(sock):
            (tmp_path / type(found[0]).__name__).touch()
            if isinstance(found[0], Stop):
                sock.sendall(encode(Stopped(kept=False)))
                return 0
        return 0

    async with running(tmp_path, GOOD, never_answers) as daemon:
        for _ in range(2000):
            if (tmp_path / "Apply").exists():
                break
            await asyncio.sleep(0.01)
    assert daemon.task is not None
    assert daemon.task.result() is ExitStatus.OK
    assert (tmp_path / "Stop").exists()


@pytest.mark.asyncio
async def test_a_reload_that_fails_half_way_brings_the_old_configuration_back(
    tmp_path: Path,
) -> None:
    def fails_second(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        applied = 0
        while found := messages(sock):
            match found[0]:
                case Apply(generation=generation, spec=spec):
                    applied += 1
                    with (tmp_path / "specs").open("ab") as file:
                        file.write(bytes(spec) + b"\n")
                    failed = Failed(generation, "broken", "", ExitStatus.KERNEL, intact=False)
                    good = Applied(generation, 0, 0, 1, 1)
                    sock.sendall(encode(good if applied == 1 else failed))
                case Stop():
                    sock.sendall(encode(Stopped(kept=False)))
                    return 0
        return 0

    async with running(tmp_path, GOOD, fails_second) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text(GOOD.replace("weight 1", "weight 2"))
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("apply_failed")
        await daemon.until("role_revived")
    first, second, third = (tmp_path / "specs").read_bytes().splitlines()
    assert first == third
    assert first != second


@pytest.mark.asyncio
async def test_a_role_that_dies_as_it_gets_its_old_configuration_back_has_it_in_its_next_life(
    tmp_path: Path,
) -> None:
    def main(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        applied = 0
        while found := messages(sock):
            match found[0]:
                case Apply(generation=generation, spec=spec):
                    answer: Applied | Failed = Applied(generation)
                    if b'"instances"' in bytes(spec):
                        answer = Failed(generation, "no", "", ExitStatus.KERNEL, intact=False)
                    else:
                        applied += 1
                        with (tmp_path / "specs").open("ab") as file:
                            file.write(bytes(spec) + b"\n")
                    if applied == 3:
                        return 1
                    sock.sendall(encode(answer))
                case Stop():
                    sock.sendall(encode(Stopped()))
                    return 0
        return 0

    vrrp = "vrrp_instance one {\n interface lo\n virtual_router_id 1\n}\n"
    async with running(tmp_path, GOOD, main) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text(GOOD.replace("weight 1", "weight 2") + vrrp)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("apply_failed")
        await daemon.until("role_revived")
    old, new, back, revived = (tmp_path / "specs").read_bytes().splitlines()
    assert old != new
    assert [back, revived] == [old, old]


@pytest.mark.asyncio
async def test_a_router_that_never_had_a_configuration_is_not_started_again(
    tmp_path: Path,
) -> None:
    def main(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        while found := messages(sock):
            match found[0]:
                case Apply(generation=generation, spec=spec):
                    answer: Applied | Failed = Applied(generation)
                    if b'"instances"' in bytes(spec):
                        answer = Failed(generation, "no", "", ExitStatus.KERNEL, intact=False)
                    sock.sendall(encode(answer))
                case Stop():
                    sock.sendall(encode(Stopped()))
                    return 0
        return 0

    vrrp = "vrrp_instance one {\n interface lo\n virtual_router_id 1\n}\n"
    async with running(tmp_path, GOOD, main) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text(GOOD + vrrp)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("apply_failed")
        await daemon.until("role_died")
        daemon.file.write_text(GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied")
        assert daemon.named("role_revived") == []
        assert len(daemon.named("role_died")) == 1
    assert daemon.task is not None
    assert daemon.task.result() is ExitStatus.OK


@pytest.mark.asyncio
async def test_a_role_that_does_not_beat_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.role.BEAT_LIMIT", 0.5)
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        stuck = await daemon.until("role_stuck")
        died = await daemon.until("role_died")
        await daemon.until("role_revived")
    assert "director" in str(stuck)
    assert "SIGKILL" in str(died)


@pytest.mark.asyncio
async def test_no_role_is_killed_because_the_supervisor_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.role.BEAT_LIMIT", 1.5)

    def main(sock: socket.socket) -> int:
        sock.settimeout(0.2)
        while True:
            sock.sendall(encode(Beat()))
            try:
                found = messages(sock)
            except TimeoutError:
                continue
            match found:
                case [Apply(generation=generation)]:
                    sock.sendall(encode(Applied(generation)))
                case [Stop()]:
                    sock.sendall(encode(Stopped()))
                    return 0
                case _:
                    return 0

    async with running(tmp_path, GOOD, main) as daemon:
        await daemon.until("daemon_ready")
        for _ in range(3):
            time.sleep(2)  # noqa: ASYNC251 - this is what it is about
            await asyncio.sleep(0.05)
            role = daemon.supervisor._staff.director.role
            assert role is not None
            assert role.last_sign <= time.monotonic()
        assert daemon.named("role_stuck") == []
        assert daemon.named("role_died") == []


@pytest.mark.asyncio
async def test_what_a_stop_leaves_behind_is_told_by_event_and_status(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, leaves_something) as daemon:
        await daemon.until("daemon_ready")
    assert daemon.task is not None
    assert daemon.task.result() is ExitStatus.KERNEL
    assert "services: tcp x" in str(daemon.named("stop_incomplete")[0])


@pytest.mark.asyncio
async def test_what_a_role_leaves_behind_that_a_reload_gives_up_is_told(tmp_path: Path) -> None:
    vrrp = "vrrp_instance one {\n interface lo\n virtual_router_id 1\n}\n"
    async with running(tmp_path, GOOD + vrrp, leaves_something) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text(GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied")
        assert "services: tcp x" in str(daemon.named("stop_incomplete")[0])


@pytest.mark.asyncio
async def test_a_machine_that_starts_no_process_ends_neither_the_daemon_nor_its_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        with monkeypatch.context() as full:
            full.setattr("lvskeeper.daemon.process.os.fork", fork)
            os.kill(os.getpid(), signal.SIGHUP)
            assert "Resource temporarily unavailable" in str(await daemon.until("reload_refused"))
            os.kill(int((tmp_path / "applied").read_text().split()[0]), signal.SIGKILL)
            assert "could not be started" in str(await daemon.until("apply_failed"))
        await daemon.until("role_revived")
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert daemon.task is not None
    assert daemon.task.result() is ExitStatus.OK
