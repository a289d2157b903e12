"""A thousand changes under load, and none of them noticed by a connection.

The load is 200 connections that live, each asking every few seconds, and 50 new ones a second.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from support.asking import ask

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.load import Load
from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import BACK, VIPS4, VIPS6, Laboratory, Plan, real_server

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(300),
]

HELD: Final = 200
RATE: Final = 50.0
"""New connections a second."""
SIDE: Final = 100
"""Virtual servers beside the loaded ones, of which a third leaves and a third comes a reload."""
ROUNDS: Final = 4
CHANGES: Final = 1000
POOLS: Final = {"one": range(10, 14), "two": range(20, 24), "three": range(30, 32)}
RELOAD_LIMIT: Final = 120.0


def virtual_server(vip: str, port: int, family: int, weights: list[int], pool: str) -> str:
    servers = "".join(
        f"  real_server {real_server(number)[family]} 8080 {{\n    weight {weight}\n  }}\n"
        for number, weight in enumerate(weights, 1)
    )
    return (
        f"virtual_server {vip} {port} {{\n  lb_algo wrr\n  lb_kind FNAT\n  protocol TCP\n"
        f"  laddr_group_name {pool}\n{servers}}}\n"
    )


def configuration(turn: int, pools: dict[str, range] = POOLS) -> str:
    """Return the configuration of a *turn*; each differs from the one before nearly everywhere."""
    parts = [
        f"local_address_group {name} {{\n  10.0.0.{numbers[0]}-{numbers[-1]} {BACK}\n"
        f"  fd00::{numbers[0]}-{numbers[-1]} {BACK}\n}}\n"
        for name, numbers in pools.items()
    ]
    names = list(pools)
    loaded = [1 + (turn + number) % 4 for number in range(3)]
    parts.append(virtual_server(VIPS4[0], 80, 0, loaded, names[turn % 2]))
    parts.append(virtual_server(VIPS6[0], 80, 1, loaded, names[(turn + 1) % 2]))
    for number in range(SIDE):
        if (number + turn) % 3:
            weights = [1 + (number + turn + server) % 5 for server in range(3)]
            pool = names[(number + turn) % 3]
            parts.append(virtual_server(VIPS4[1], 1000 + number, 0, weights, pool))
    return "".join(parts)


@dataclass
class Site:
    lab: Laboratory
    daemon: Daemon

    def reload(self, text: str) -> int:
        """Reload and return how many operations that took on the table."""
        self.daemon.file.write_text(text)
        mark = self.daemon.reload()
        applied = self.daemon.wait_for("reload_applied", since=mark, timeout=RELOAD_LIMIT)
        assert applied.fields["refused"] == 0
        return int(applied.fields["operations"])

    def load(self) -> Load:
        targets = [(vip, 80) for vip in (VIPS4[0], VIPS6[0])]
        return Load(self.lab.client, *targets, hold=HELD, rate=RATE)

    def lips(self) -> set[int]:
        """The last numbers of the IPv4 LIPs on the device."""
        listing = self.lab.director.run(["ip", "-o", "-4", "address", "show", "dev", BACK])
        return {int(number) for number in re.findall(r" 10\.0\.0\.(\d+)/32 ", listing.stdout)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("churn")
    file = folder / "lvskeeper.conf"
    file.write_text(configuration(0))
    with Laboratory(Plan(lips=False, forwarding=False)) as lab:
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", 8080, folder / f"nginx{number}")
        with Daemon(lab.director, file, folder / "run") as daemon:
            daemon.start()
            yield Site(lab, daemon)


def settled(load: Load) -> int:
    """Wait until all that are to live do, and some others came and went; return how many."""
    return load.wait_for(lambda score: score.held == HELD and score.opened >= 20, 120).opened


def test_a_thousand_changes_are_not_noticed_by_a_connection(site: Site) -> None:
    done = 0
    with site.load() as load:
        settled(load)
        for turn in range(1, ROUNDS + 1):
            done += site.reload(configuration(turn))
        last = load.score
        load.wait_for(lambda score: score.answers >= last.answers + HELD)
    score = load.stop()
    assert done >= CHANGES
    assert (score.lost, score.failed) == (0, 0), score
    assert score.held == HELD
    assert score.opened >= 100


def test_all_local_addresses_are_replaced_and_no_connection_is_cut(site: Site) -> None:
    turn = ROUNDS
    new = {name: range(numbers[0] + 40, numbers[-1] + 41) for name, numbers in POOLS.items()}
    old_lips = {number for numbers in POOLS.values() for number in numbers}
    new_lips = {number for numbers in new.values() for number in numbers}
    assert site.lips() == old_lips
    with site.load() as load:
        settled(load)
        mark = time.monotonic()
        site.reload(configuration(turn, new))
        peers = {ask(site.lab.client, VIPS4[0], 80).peer for _ in range(8)}
        assert peers <= {f"10.0.0.{number}" for number in new_lips}
        site.daemon.wait_for("local_address_leaving", since=mark, timeout=60)
        last = load.score
        load.wait_for(lambda score: score.answers >= last.answers + 2 * HELD)
        assert site.lips() > new_lips, "those with connections stay"
    score = load.stop()
    assert (score.lost, score.failed) == (0, 0), score
    assert score.held == HELD

    # What the closed connections leave waits two minutes for its end; the test does not
    site.lab.director.run(["conntrack", "-F"])
    deadline = time.monotonic() + 60
    while site.lips() != new_lips:
        assert time.monotonic() < deadline, "old addresses do not leave"
        time.sleep(0.2)
