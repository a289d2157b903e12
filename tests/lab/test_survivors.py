"""The connections of the tests of state sync: that they see what works, and what does not."""

import time
from collections.abc import Iterator

import pytest

from lvskeeper.lab.netns import Namespace
from lvskeeper.lab.pair import ECHO, WEB
from lvskeeper.lab.servers import Server
from lvskeeper.lab.survivors import (
    Chatty,
    Connection,
    Datagrams,
    Idle,
    Sink,
    Source,
    Stream,
    Upload,
)
from lvskeeper.lab.topology import Laboratory, Plan, real_server

pytestmark = pytest.mark.root

SPEAKER, UPLOAD = 8082, 8086
CUT = "table inet cut { chain every { type filter hook input priority 0; policy drop; }; }"
MAKES: list[tuple[type[Connection], int]] = [
    (Chatty, WEB), (Datagrams, ECHO), (Idle, WEB), (Stream, SPEAKER), (Upload, UPLOAD),
]  # fmt: skip


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    with Laboratory(Plan(servers=1)) as lab:
        (space,) = lab.servers
        server = Server(space, "rs1", http=[WEB], udp=[ECHO])
        server.start()
        yield space
        server.kill()


def goes_on(one: Connection, speaker: Source, patience: float) -> bool:
    one.begin()
    speaker.speak()
    deadline = time.monotonic() + patience
    while not (works := one.works()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return works


@pytest.mark.parametrize(("make", "port"), MAKES, ids=lambda it: getattr(it, "__name__", str(it)))
def test_it_goes_on_until_its_packets_are_dropped_and_again_afterwards(
    space: Namespace, make: type[Connection], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("CHAT_PAUSE", "UPLOAD_PACE"):
        monkeypatch.setattr(f"lvskeeper.lab.survivors.{pause}", 0.1)
    with Source([space], SPEAKER) as speaker, Sink([space], UPLOAD):
        one = make(space, real_server(1)[0], port)
        try:
            assert goes_on(one, speaker, 10)
            assert goes_on(one, speaker, 10)
            space.run(["nft", "-f", "-"], input_text=CUT)
            one.begin()
            time.sleep(0.3)  # what was on its way
            assert not goes_on(one, speaker, 0.5)
            space.run(["nft", "delete", "table", "inet", "cut"])
            assert goes_on(one, speaker, 10)
        finally:
            one.close()


def test_what_a_reset_has_ended_does_not_go_on(space: Namespace) -> None:
    with Source([space], SPEAKER) as speaker:
        one = Stream(space, real_server(1)[0], SPEAKER)
        assert goes_on(one, speaker, 10)
        space.run(["ss", "-K", "sport", "=", f":{SPEAKER}"])
        assert not goes_on(one, speaker, 1)
        one.close()
