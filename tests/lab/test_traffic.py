import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvskeeper.lab.servers import Server, nginx_server, start_servers
from lvskeeper.lab.topology import Laboratory, real_server
from lvskeeper.lab.traffic import Answer, Traffic, count

pytestmark = pytest.mark.root

GET = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
    sys.stdout.write(answer.read().decode())
"""


@pytest.fixture(scope="module")
def servers(laboratory: Laboratory) -> Iterator[list[Server]]:
    made = [
        Server(space, f"rs{number}", http=[8080, 8081], udp=[5353])
        for number, space in enumerate(laboratory.servers, 1)
    ]
    start_servers(made)
    yield made
    for server in made:
        server.kill()


def url(scheme: str, address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}"


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("family", [0, 1])
@pytest.mark.parametrize(("scheme", "port"), [("http", 8080), ("http", 8081), ("udp", 5353)])
def test_a_server_tells_who_it_is_and_whom_it_saw(
    laboratory: Laboratory, family: int, scheme: str, port: int
) -> None:
    target = url(scheme, real_server(2)[family], port)
    with Traffic(laboratory.director, target, rate=50) as traffic:
        traffic.wait_for(lambda counts: counts.sent >= 5)
    score = traffic.stop()
    assert score.failed == 0
    assert set(score.servers) == {"rs2"}
    assert set(score.peers) == {("10.0.0.1", "fd00::1")[family]}


@pytest.mark.usefixtures("servers")
def test_the_client_gets_no_answer_without_fullnat(laboratory: Laboratory) -> None:
    laboratory.client.ip("route replace 10.1.0.0/16 via 192.0.2.1")
    target = url("http", real_server(1)[0], 8080)
    with Traffic(laboratory.client, target, rate=50, timeout=0.5) as traffic:
        score = traffic.wait_for(lambda counts: counts.failed >= 2)
    assert score.sent == score.failed
    assert set(score.errors) == {"no answer within 0.5 s"}


def test_killing_a_server_shows_and_its_return_too(
    laboratory: Laboratory, servers: list[Server]
) -> None:
    target = url("http", real_server(3)[0], 8080)
    with Traffic(laboratory.director, target, rate=50) as traffic:
        traffic.wait_for(lambda counts: counts.servers.get("rs3", 0) >= 3)
        before = traffic.mark()
        servers[2].kill()
        killed = traffic.mark()
        score = traffic.wait_for(lambda counts: counts.failed >= 3, since=killed)
        assert score.servers == {}
        servers[2].start()
        returned = traffic.mark()
        score = traffic.wait_for(lambda counts: counts.sent >= 3, since=returned)
        assert score.failed == 0
        stopped = traffic.stop()
        # Whatever the kill cost was under way then, or began before the return
        assert traffic.between(before, returned).failed == stopped.failed
        assert traffic.last is not None
        assert traffic.last.server == "rs3"


def test_waiting_in_vain_tells_the_score(laboratory: Laboratory) -> None:
    target = url("http", real_server(1)[0], 9)
    with (
        Traffic(laboratory.director, target, rate=50) as traffic,
        pytest.raises(TimeoutError, match=r"not seen within 1 s: \d+ sent, \d+ failed"),
    ):
        traffic.wait_for(lambda counts: counts.servers.get("rs1", 0) > 0, timeout=1)


@pytest.mark.usefixtures("servers")
def test_the_rate_is_kept(laboratory: Laboratory) -> None:
    target = url("http", real_server(1)[0], 8080)
    with Traffic(laboratory.director, target, rate=20) as traffic:
        first = traffic.wait_for(lambda counts: counts.sent >= 1)
        assert first.sent >= 1
        begun = traffic.mark()
        traffic.wait_for(lambda counts: counts.sent >= 20, since=begun)
        took = traffic.mark() - begun
    assert took > 0.8  # 20 requests at 20 a second


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(("path", "size"), [("/stream/20/0.01", 20 * 1024), ("/stream/0/0", 0)])
def test_a_stream_comes_whole(laboratory: Laboratory, path: str, size: int) -> None:
    target = url("http", real_server(1)[0], 8080) + path
    got = laboratory.director.run(["/usr/bin/python3", "-c", GET, target]).stdout
    assert len(got) == size


@pytest.mark.usefixtures("servers")
def test_a_status_can_be_asked_for(laboratory: Laboratory) -> None:
    target = url("http", real_server(1)[0], 8080) + "/status/503"
    done = laboratory.director.run(["/usr/bin/python3", "-c", GET, target], check=False)
    assert "HTTP Error 503" in done.stderr


@pytest.mark.usefixtures("servers")
def test_connections_are_kept_for_further_requests(laboratory: Laboratory) -> None:
    code = (
        "import http.client, sys\n"
        "c = http.client.HTTPConnection(sys.argv[1], 8080, timeout=20)\n"
        "for _ in range(3):\n"
        "    c.request('GET', '/'); print(c.getresponse().read().decode(), end='')\n"
    )
    got = laboratory.director.run(["/usr/bin/python3", "-c", code, real_server(1)[0]]).stdout
    ports = {json.loads(line)["port"] for line in got.splitlines()}
    assert len(got.splitlines()) == 3
    assert len(ports) == 1


def test_nginx_serves_the_same_page_from_its_own_folder(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    nginx_server(laboratory.servers[0], "rs1", 8888, tmp_path / "nginx")
    for family, peer in enumerate(("10.0.0.1", "fd00::1")):
        target = url("http", real_server(1)[family], 8888)
        page = laboratory.director.run(["/usr/bin/python3", "-c", GET, target]).stdout
        told = json.loads(page)
        assert (told["server"], told["peer"]) == ("rs1", peer)


def test_a_score_counts_good_and_bad() -> None:
    answers = [
        Answer(started=1, ok=True, server="rs1", peer="10.0.0.10", ms=1, error=""),
        Answer(started=2, ok=True, server="rs1", peer="10.0.0.11", ms=1, error=""),
        Answer(started=3, ok=False, server="", peer="", ms=1, error="refused"),
    ]
    score = count(answers)
    assert (score.sent, score.failed) == (3, 1)
    assert score.servers == {"rs1": 2}
    assert score.peers == {"10.0.0.10": 1, "10.0.0.11": 1}
    assert str(score) == "3 sent, 1 failed (rs1 2): 1x refused"
