"""The control socket of a real supervisor, asked over HTTP as commands do."""

import asyncio
import grp
import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.hung_directory import PATIENCE, hung
from support.supervised import GOOD, Running, messages, running
from support.waiting import wait_until

from lvskeeper.cli.client import STATUSES, Client
from lvskeeper.daemon.channel import Applied, Apply, Beat, Stop, Stopped, encode
from lvskeeper.daemon.control_app import ROUTES
from lvskeeper.daemon.questions import Ask, Reply
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe.snapshot import CODES, Snapshot
from lvskeeper.observe.views import DirectorView

pytestmark = pytest.mark.asyncio


def answering(delay: float = 0.0, *, dies: bool = False) -> Callable[[socket.socket], int]:
    """Return a director that answers questions after *delay* seconds, or dies of them."""

    def main(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        while found := messages(sock):
            message: object = found[0]
            match message:
                case Apply(generation=generation):
                    sock.sendall(encode(Applied(generation, 3, 0, 1, 1)))
                case Ask(number=number):
                    if dies:
                        return 1
                    time.sleep(delay)
                    view = msgspec.json.encode(DirectorView(time.monotonic(), "mainline"))
                    sock.sendall(encode(Reply(number, msgspec.Raw(view))))
                case Stop():
                    sock.sendall(encode(Stopped(kept=False)))
                    return 0
                case _:
                    pass
        return 0

    return main


async def opened(daemon: Running) -> Client:
    await daemon.until("daemon_ready")
    await asyncio.to_thread(wait_until, (daemon.file.parent / "control.sock").exists)
    return Client(daemon.file.parent)


def control_process() -> int:
    """Return the process of the control socket, a child of this one."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    (found,) = (pid for pid in children if "control" in Path(f"/proc/{pid}/comm").read_text())
    return int(found)


def is_answered(client: Client) -> bool:
    try:
        client.snapshot()
    except OperatorError as error:
        return error.status is not ExitStatus.NO_DAEMON
    return True


async def snapshot(client: Client) -> Snapshot:
    return await asyncio.to_thread(client.snapshot)


async def test_a_snapshot_tells_of_the_supervisor_and_of_each_role(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, answering()) as daemon:
        client = await opened(daemon)
        seen = await snapshot(client)
        assert seen.daemon.pid == os.getpid()
        assert seen.daemon.file == str(daemon.file)
        assert seen.daemon.generation == 1
        assert seen.director is not None
        assert seen.director.dialect == "mainline"
        assert seen.router is None
        assert seen.problems == ()
        assert abs(time.monotonic() - seen.director.taken) < 20
        director, router = seen.daemon.roles
        assert (director.name, router.name, router.pid) == ("director", "router", None)
        assert director.beat_age is not None
        assert client.exchange("GET", "/nothing")[0] == 404


async def test_a_stuck_role_is_a_problem_and_never_an_old_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.desk.ROLE_LIMIT", 0.2)
    async with running(tmp_path, GOOD, answering(delay=1.0)) as daemon:
        client = await opened(daemon)
        seen = await snapshot(client)
        assert seen.director is None
        assert [problem.code for problem in seen.problems] == ["timed_out"]
        assert "did not answer within 0.2 s" in seen.problems[0].message
        status, body = await asyncio.to_thread(client.exchange, "GET", "/snapshot")
        assert status == 504
        assert json.loads(body)["director"] is None
        # The supervisor alone has an answer at once
        path = "/snapshot?roles=false"
        alone = await asyncio.to_thread(client.get, path, Snapshot)
        assert (alone.director, alone.problems) == (None, ())
        assert alone.daemon.roles[0].pid is not None


async def test_a_role_that_ends_meanwhile_is_a_problem(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, answering(dies=True)) as daemon:
        client = await opened(daemon)
        seen = await snapshot(client)
        assert seen.director is None
        assert [problem.code for problem in seen.problems] == ["unavailable"]


async def test_the_socket_is_for_root_alone_and_back_after_the_end_of_its_process(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, GOOD, answering()) as daemon:
        client = await opened(daemon)
        path = tmp_path / "control.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await snapshot(client)
        os.kill(control_process(), signal.SIGKILL)
        await daemon.until("role_died")
        assert not await asyncio.to_thread(is_answered, client)
        await asyncio.to_thread(wait_until, lambda: is_answered(client))


async def test_without_a_daemon_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no daemon answers") as caught:
        Client(tmp_path).snapshot()
    assert caught.value.status is ExitStatus.NO_DAEMON


async def test_requests_have_bounds(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, answering()) as daemon:
        client = await opened(daemon)
        await snapshot(client)
        status, _ = await asyncio.to_thread(client.exchange, "POST", "/snapshot", b"{}")
        assert status == 405


async def test_mode_and_group_follow_the_configuration_and_its_reloads(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    def is_for(mode: int, group: str) -> Callable[[], bool]:
        wanted = (mode, grp.getgrnam(group).gr_gid)
        return lambda: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == wanted

    head = "global_defs {{\n    control_socket {}\n}}\n"
    async with running(tmp_path, head.format("0660 adm") + GOOD, answering()) as daemon:
        await opened(daemon)
        await asyncio.to_thread(wait_until, is_for(0o660, "adm"))
        daemon.file.write_text(GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.to_thread(wait_until, is_for(0o600, "root"))
        daemon.file.write_text(head.format("0660 no-such-group") + GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        failed = await daemon.until("upkeep_failed")
        assert "there is no group no-such-group" in str(failed)
        assert is_for(0o600, "root")()


HUNG = """
import asyncio, msgspec, socket, stat, sys
from pathlib import Path
from lvskeeper.daemon.channel import Channel
from lvskeeper.daemon.control import Control
from lvskeeper.daemon.questions import FromControl, Serve

async def main():
    ends = socket.socketpair()
    ours, theirs = [await Channel.connect(end) for end in ends]
    folder = Path(sys.argv[1])
    control = asyncio.create_task(Control(theirs, folder).run())
    await ours.send(Serve(0o660, "somebody"))
    while not (folder / "control.sock").exists():
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_unix_connection(folder / "control.sock")
    writer.write(b"GET /v1/snapshot HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n")
    print(await ours.receive(msgspec.json.Decoder(FromControl)))
    print(stat.filemode((folder / "control.sock").lstat().st_mode))
    ours.close()

asyncio.run(main())
"""


@pytest.mark.root
async def test_questions_are_taken_while_nobody_knows_who_the_group_is(tmp_path: Path) -> None:
    async with hung("/etc/group", tmp_path / "group", HUNG, str(tmp_path)) as process:
        told, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    question, _, mode = told.decode().strip().rpartition("\n")
    assert "TakeSnapshot" in question
    assert "by='root'" in question
    assert mode == "srw-------"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/overrides", b"x" * 100_000, 413, "Too Large"),
        ("POST", "/overrides", b"{", 400, "the body of the request"),
        ("POST", "/overrides", b'{"action": "explode"}', 400, "Invalid enum value 'explode'"),
        ("POST", "/reload", b'{"now": true}', 400, "unknown field `now`"),
        ("GET", "/events?after=x", None, 400, "the query of the request"),
        ("GET", "/events?wait=inf", None, 400, "`$.wait`"),
        ("GET", "/overrides/1", None, 404, "there is no /v1/overrides/1"),
    ],
)
async def test_wrong_requests_are_told_what_is_wrong(
    tmp_path: Path, *, method: str, path: str, body: bytes | None, status: int, words: str
) -> None:
    async with running(tmp_path, GOOD, answering()) as daemon:
        client = await opened(daemon)
        told = await asyncio.to_thread(client.exchange, method, path, body)
        assert (told[0], words in told[1].decode()) == (status, True), told


async def test_a_process_of_the_socket_that_talks_nonsense_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nonsense(sock: socket.socket, *_: object) -> int:
        sock.sendall(encode(Beat()))
        return 0 if not sock.recv(1 << 16) else 3

    monkeypatch.setattr("lvskeeper.daemon.reception.control_main", nonsense)
    async with running(tmp_path, GOOD, answering()) as daemon:
        assert "control" in str(await daemon.until("role_died"))


async def test_who_may_not_use_the_socket_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, answering()) as daemon:
        client = await opened(daemon)
        os.seteuid(65534)
        try:
            with pytest.raises(OperatorError) as caught:
                client.snapshot()
        finally:
            os.seteuid(0)
        assert caught.value.status is ExitStatus.PERMISSION


async def test_idle_connections_hold_nobody_up(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD, answering()) as daemon:
        client = await opened(daemon)
        await snapshot(client)
        idle = [socket.socket(socket.AF_UNIX) for _ in range(100)]
        try:
            for one in idle:
                one.connect(str(tmp_path / "control.sock"))
                one.send(b"GET /v1/snapshot HTTP/1.1\r\n")
            assert (await snapshot(client)).director is not None
        finally:
            for one in idle:
                one.close()


async def test_the_manual_names_every_path_field_and_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "control-socket.md").read_text()
    told = set(re.findall(r"`(GET|POST) /v1(/\w+)`", page))
    assert told == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        (row,) = (line for line in page.splitlines() if f"`{route.method} /v1{route.path}`" in line)
        for name in route.question.__struct_fields__:
            assert f"`{name}`" in row
    codes = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE))
    assert codes == {code: str(status) for code, status in CODES.items()}
    ends = dict(re.findall(r"^\| `(\w+)` \| \d+ \| (\d+) \|", page, re.MULTILINE))
    assert ends == {code: str(int(STATUSES.get(code, ExitStatus.INTERNAL))) for code in CODES}
