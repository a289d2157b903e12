"""The cheap generator of many connections, and its score."""

from collections.abc import Iterator

import pytest

from lvskeeper.lab.load import Load
from lvskeeper.lab.servers import Server
from lvskeeper.lab.topology import Laboratory, real_server

pytestmark = pytest.mark.root


@pytest.fixture
def server(laboratory: Laboratory) -> Iterator[Server]:
    server = Server(laboratory.servers[0], "rs1", http=[8080])
    server.start()
    yield server
    server.kill()


@pytest.mark.usefixtures("server")
def test_connections_live_while_others_come_and_go(laboratory: Laboratory) -> None:
    targets = [(address, 8080) for address in real_server(1)]
    with Load(laboratory.router, *targets, hold=10, rate=50) as load:
        load.wait_for(lambda score: score.held == 10 and score.opened >= 20)
    score = load.stop()
    assert (score.held, score.lost, score.failed, score.words) == (10, 0, 0, [])
    assert score.answers >= 10
    assert 0 < score.slowest < 20


def test_a_dead_server_loses_those_that_live_and_fails_new_ones(
    laboratory: Laboratory, server: Server
) -> None:
    address = real_server(1)[0]
    with Load(laboratory.router, (address, 8080), hold=5, rate=20) as load:
        load.wait_for(lambda score: score.held == 5)
        server.kill()
        score = load.wait_for(lambda score: score.failed > 0 and score.lost == 5)
    assert score.held == 0
    assert any(address in word for word in score.words)
