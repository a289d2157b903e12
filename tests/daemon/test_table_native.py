"""The table of a FULLNAT kernel, by its bytes: timeouts, local addresses, what is never sent."""

from dataclasses import replace

import pytest
from support.fake_ipvs import EST_DEFAULT, FakeIpvs
from support.ipvs_strategies import KEYS

from lvskeeper.daemon.table import TableKeeper
from lvskeeper.ipvs.decode import EST_TIMEOUT, has_attribute
from lvskeeper.ipvs.dialect import FORK_V2, FORK_V3, Traits
from lvskeeper.ipvs.encode import Command
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Forward,
    Protocol,
    Service,
    ServiceFlag,
)
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.units import Address, parse_address

WEB = KEYS[0]
KEY = DestKey(parse_address("198.51.100.1"), 8080)
LIPS = [Address(bytes((203, 0, 113, last))) for last in range(1, 9)]
FORKS = pytest.mark.parametrize(
    "traits", [FORK_V2, FORK_V3], ids=lambda traits: traits.dialect.value
)


PLAIN = Service(WEB, "rr")
SLOW = replace(PLAIN, established=600)


def entry_of(*lips: Address, service: Service = PLAIN) -> Entry:
    return Entry(service, {KEY: Destination(KEY, Forward.FULLNAT)}, frozenset(lips))


class Watched(FakeIpvs):
    """Keeps each changing request, and how many LIPs the service had after it."""

    def __init__(self, traits: Traits) -> None:
        super().__init__(traits)
        self.requests: list[bytes] = []
        self.lips: list[int] = []

    def handle(self, request: bytes) -> int:
        code = super().handle(request)
        self.requests.append(request)
        self.lips += [len(entry.local_addresses) for entry in self.table.values()]
        return code


async def keeper_of(kernel: Watched, *entries: Entry) -> TableKeeper:
    client = IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls)
    client.open()
    keeper = TableKeeper(client, lambda _: None)
    keeper.want({entry.service.key: entry for entry in entries})
    outcome = await keeper.sync()
    assert not outcome.refused
    return keeper


async def change(keeper: TableKeeper, *entries: Entry) -> None:
    keeper.want({entry.service.key: entry for entry in entries})
    assert not (await keeper.sync()).refused


@FORKS
@pytest.mark.asyncio
async def test_all_local_addresses_are_replaced_without_a_moment_without(traits: Traits) -> None:
    kernel = Watched(traits)
    keeper = await keeper_of(kernel, entry_of(*LIPS[:4]))
    kernel.lips.clear()
    kernel.writes.clear()

    await change(keeper, entry_of(*LIPS[4:]))

    assert kernel.writes == [Command.NEW_LADDR] * 4 + [Command.DEL_LADDR] * 4
    assert kernel.lips == [5, 6, 7, 8, 7, 6, 5, 4]
    assert kernel.table[WEB].local_addresses == frozenset(LIPS[4:])


@FORKS
@pytest.mark.asyncio
async def test_a_new_service_has_local_addresses_before_real_servers(traits: Traits) -> None:
    kernel = Watched(traits)

    await keeper_of(kernel, entry_of(*LIPS[:2]))

    new = [Command.NEW_SERVICE, Command.NEW_LADDR, Command.NEW_LADDR, Command.NEW_DEST]
    assert kernel.writes == new


@FORKS
@pytest.mark.asyncio
async def test_synproxy_is_switched_in_place(traits: Traits) -> None:
    kernel = Watched(traits)
    keeper = await keeper_of(kernel, entry_of(*LIPS[:2]))
    kernel.writes.clear()

    for flags in (ServiceFlag.SYNPROXY, ServiceFlag(0)):
        await change(keeper, entry_of(*LIPS[:2], service=replace(PLAIN, flags=flags)))
        assert kernel.table[WEB].service.flags == flags

    assert kernel.writes == [Command.SET_SERVICE] * 2


@pytest.mark.asyncio
async def test_the_third_generation_gets_a_timeout_with_every_tcp_service() -> None:
    kernel = Watched(FORK_V3)
    dns = Entry(Service(KEYS[2], "rr"))
    assert dns.service.key.protocol is Protocol.UDP

    keeper = await keeper_of(kernel, entry_of(*LIPS[:1], service=SLOW), dns)
    assert kernel.table[WEB].service.established == 600
    # A change of something else keeps it: a request without would set it back to the default.
    await change(keeper, entry_of(*LIPS[:1], service=replace(SLOW, scheduler="wrr")))
    assert kernel.table[WEB].service.established == 600
    await change(keeper, entry_of(*LIPS[:1], service=replace(PLAIN, scheduler="wrr")))
    assert kernel.table[WEB].service.established == kernel.timeouts.tcp != EST_DEFAULT

    services = [
        request for request in kernel.requests
        if request[16] in (Command.NEW_SERVICE, Command.SET_SERVICE)
    ]  # fmt: skip
    sent = [has_attribute(request, 0, len(request), EST_TIMEOUT) for request in services]
    assert sent.count(False) == 1  # UDP has none
    assert len(sent) == 4
    assert Command.ZERO not in kernel.writes


@pytest.mark.asyncio
async def test_the_second_generation_never_gets_a_timeout() -> None:
    kernel = Watched(FORK_V2)

    await keeper_of(kernel, entry_of(*LIPS[:1], service=SLOW))

    assert not any(
        has_attribute(request, 0, len(request), EST_TIMEOUT) for request in kernel.requests
    )
