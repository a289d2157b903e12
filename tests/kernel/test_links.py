"""LIPs on devices, each test in a network namespace of its own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.kernel.links import (
    Placement,
    ensure_addresses,
    present_addresses,
    remove_addresses,
)
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

V4 = (parse_address("10.0.0.10"), "back0")
V6 = (parse_address("fd00::10"), "back0")


@pytest.fixture(autouse=True)
def back() -> Iterator[None]:
    with empty_namespace():
        run("ip link add back0 type veth peer name back1; ip link set back0 up")
        run("ip link set back1 up")
        yield


def listed() -> dict[str, Any]:
    (link,) = json.loads(run("ip -j addr show dev back0"))
    return {entry["local"]: entry for entry in link["addr_info"] if entry["scope"] == "global"}


@pytest.mark.asyncio
async def test_addresses_are_put_once_and_taken_away() -> None:
    assert await ensure_addresses([V4, V6, V4]) == Placement(changed=(V4, V6))
    addresses = listed()
    assert addresses["10.0.0.10"]["prefixlen"] == 32
    assert addresses["fd00::10"]["prefixlen"] == 128
    assert addresses["fd00::10"]["nodad"]
    assert addresses["fd00::10"]["noprefixroute"]
    assert "tentative" not in addresses["fd00::10"]
    assert await ensure_addresses([V4, V6]) == Placement(unchanged=(V4, V6))
    assert (await present_addresses())[V4] == 32
    assert await remove_addresses([V4, V6]) == Placement(changed=(V4, V6))
    assert listed() == {}
    assert await remove_addresses([V4, V6]) == Placement(unchanged=(V4, V6))


@pytest.mark.asyncio
async def test_a_local_address_is_no_source_of_own_connections() -> None:
    run("ip addr add fd00::1/64 dev back0 nodad; ip addr add 10.0.0.1/24 dev back0")
    assert not (await ensure_addresses([V4, V6])).failures
    assert json.loads(run("ip -j route get fd00::99"))[0]["prefsrc"] == "fd00::1"
    assert json.loads(run("ip -j route get 10.0.0.99"))[0]["prefsrc"] == "10.0.0.1"


@pytest.mark.asyncio
async def test_an_address_of_the_operator_is_left_alone() -> None:
    run("ip addr add 10.0.0.10/24 dev back0")
    assert await ensure_addresses([V4]) == Placement(unchanged=(V4,))
    assert await remove_addresses([V4]) == Placement(unchanged=(V4,))
    assert listed()["10.0.0.10"]["prefixlen"] == 24


@pytest.mark.asyncio
async def test_failures_name_address_and_device_and_spare_the_rest() -> None:
    run("sysctl -qw net.ipv6.conf.back0.disable_ipv6=1")
    placed = await ensure_addresses([(V4[0], "nope0"), V6, V4])
    assert placed.changed == (V4,)
    assert [str(failure) for failure in placed.failures] == [
        "local address 10.0.0.10 on nope0: No such device",
        "local address fd00::10 on back0: Permission denied",
    ]
    assert "make the device first" in placed.failures[0].hint
    assert "IPv6 is switched off" in placed.failures[1].hint


@pytest.mark.asyncio
async def test_nothing_wanted_costs_nothing() -> None:
    assert await ensure_addresses([]) == Placement()
