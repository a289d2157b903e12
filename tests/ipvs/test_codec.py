from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_ipvs import FAMILY
from support.ipvs_captures import recorded
from support.ipvs_strategies import KEYS, entries, services

from lvskeeper.ipvs import decode
from lvskeeper.ipvs.decode import (
    NO_PREFIX,
    DestinationReader,
    prefix_of,
    read_destination,
    read_service,
)
from lvskeeper.ipvs.dialect import FORK_V2, FORK_V3, MAINLINE, Traits
from lvskeeper.ipvs.encode import Command, Encoder, netmask
from lvskeeper.ipvs.operation import AddDest, AddService
from lvskeeper.ipvs.types import Family, Protocol, Service
from lvskeeper.ipvs.wire import Attribute, Generic, Message, format_message, parse_message

DIALECTS = pytest.mark.parametrize(
    "traits", [MAINLINE, FORK_V2, FORK_V3], ids=lambda traits: traits.dialect.value
)
DUMPED = next(
    each
    for each in recorded("mainline-ipvsadm")
    if each.command == Command.NEW_DEST and not each.to_kernel
)


@DIALECTS
@given(data=st.data())
def test_services_come_back(traits: Traits, data: st.DataObject) -> None:
    service = data.draw(st.sampled_from(KEYS).flatmap(lambda key: services(key, traits)))

    request = Encoder(FAMILY, traits).operation(AddService(service), 1)

    assert read_service(request, 0, len(request), traits) == service


@DIALECTS
@given(data=st.data())
def test_destinations_come_back(traits: Traits, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(KEYS))
    entry = data.draw(entries(key, traits))
    encoder = Encoder(FAMILY, traits)

    for destination in entry.destinations.values():
        request = encoder.operation(AddDest(key, destination), 1)
        assert read_destination(request, 0, len(request), key.family) == destination


@given(st.sampled_from([(Family.INET, n) for n in range(33)] + [(Family.INET6, 64)]))
def test_netmasks_come_back(case: tuple[Family, int]) -> None:
    family, prefix = case

    assert prefix_of(netmask(family, prefix), family) == prefix


def test_a_netmask_in_the_kernels_order_of_bytes() -> None:
    assert netmask(Family.INET, 24) == b"\xff\xff\xff\x00"
    assert prefix_of(b"\xff\x00\xff\x00", Family.INET) == NO_PREFIX


def turned(message: bytes) -> bytes:
    """Return a dumped destination with its attributes the other way round, and one more."""
    tree = parse_message(message, frozenset({2}))
    assert isinstance(tree.body, Generic)
    (nest,) = tree.body.attributes
    assert isinstance(nest.value, tuple)
    value = (*reversed(nest.value), Attribute(77, b"unknown"))
    body = replace(tree.body, attributes=(Attribute(nest.kind, value),))
    return format_message(Message(tree.kind, tree.flags, tree.sequence, tree.port, body))


def test_another_order_of_attributes_is_read_too() -> None:
    reader = DestinationReader(MAINLINE)
    usual, other = DUMPED.data, turned(DUMPED.data)

    found = reader.read(other, 0, len(other), Family.INET)

    assert found == reader.read(usual, 0, len(usual), Family.INET)
    assert reader.read(other, 0, len(other), Family.INET) is not found


def test_a_readers_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MEMO_LIMIT", 3)
    reader = DestinationReader(MAINLINE)
    dumped = [
        each.data
        for each in recorded("mainline-ipvsadm")
        if each.command == Command.NEW_DEST and not each.to_kernel
    ]

    for data in dumped:
        reader.read(data, 0, len(data), Family.INET)
        assert len(reader._memo) <= 3

    assert len(set(dumped)) > 3


def test_a_service_of_an_unknown_protocol_is_left_out() -> None:
    request = bytearray(Encoder(FAMILY, MAINLINE).operation(AddService(Service(KEYS[0], "rr")), 1))
    at = request.index(b"\x06\x00\x02\x00") + 4
    assert request[at] == Protocol.TCP
    request[at] = 50

    assert read_service(bytes(request), 0, len(request), MAINLINE) is None
