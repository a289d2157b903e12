"""What the keeper of the table sends, and in what order, seen by its bytes."""

from dataclasses import replace

import pytest
from support.fake_ipvs import FakeIpvs
from support.ipvs_strategies import KEYS

from lvskeeper.daemon.table import TableKeeper
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.ipvs.encode import Command
from lvskeeper.ipvs.types import Destination, DestKey, Entry, Forward, Service
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.units import parse_address

KEY = DestKey(parse_address("198.51.100.1"), 8080)
SERVICES = [Service(KEYS[0], "rr"), Service(KEYS[2], "rr")]


class Hushes:
    """Notes at which writes of *kernel* a hush began and ended."""

    def __init__(self, kernel: FakeIpvs) -> None:
        self._kernel = kernel
        self.ends: list[int] = []

    def __enter__(self) -> None:
        self.ends.append(len(self._kernel.writes))

    def __exit__(self, *_: object) -> None:
        self.ends.append(len(self._kernel.writes))


@pytest.mark.asyncio
async def test_schedulers_are_changed_last_and_in_a_hush() -> None:
    kernel = FakeIpvs(MAINLINE)
    hushes = Hushes(kernel)
    client = IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls)
    client.open()
    keeper = TableKeeper(client, lambda _: None, hushes)
    for scheduler, weight in (("rr", 1), ("rr", 2), ("wrr", 3)):
        wanted = Destination(KEY, Forward.NAT, weight)
        keeper.want({
            service.key: Entry(replace(service, scheduler=scheduler), {KEY: wanted})
            for service in SERVICES
        })  # fmt: skip
        kernel.writes.clear()
        assert not (await keeper.sync()).refused
    assert kernel.writes == [Command.SET_DEST] * 2 + [Command.SET_SERVICE] * 2
    assert hushes.ends == [2, 4]
