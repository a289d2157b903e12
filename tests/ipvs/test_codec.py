from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_ipvs import FAMILY, FakeIpvs
from support.ipvs_captures import Recorded, recorded
from support.ipvs_strategies import KEYS, entries, services

from lvskeeper.ipvs import decode_dump
from lvskeeper.ipvs.decode import (
    NO_PREFIX,
    prefix_of,
    read_destination,
    read_service,
)
from lvskeeper.ipvs.decode_dump import DestinationReader
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


def sequence_of(message: bytes) -> int:
    return int.from_bytes(message[8:12], "little")


@pytest.mark.parametrize("odd", range(4))
def test_a_message_of_another_build_is_read_too(odd: int) -> None:
    """Attributes in another order: alone, and at each place among usual messages."""
    reader = DestinationReader(MAINLINE)
    usual, number = DUMPED.data, sequence_of(DUMPED.data)
    others = [each.data for each in dumped_like(usual)][:3]
    found = {
        each.key: each
        for each in (read_destination(data, 0, len(data), Family.INET) for data in [usual, *others])
    }
    assert len(found) == 4
    run = [usual, *others]
    run[odd] = turned(run[odd])
    run = [each[:8] + usual[8:12] + each[12:] for each in run]

    assert reader.read([b"".join(run)], number, Family.INET) == found
    assert reader.read(run, number, Family.INET) == found
    assert reader.read(run, number + 1, Family.INET) == {}


def dumped_like(usual: bytes) -> list[Recorded]:
    """Return recorded messages as long as *usual*, each about another destination."""
    found = {
        read_destination(each.data, 0, len(each.data), Family.INET).key: each
        for each in recorded("mainline-ipvsadm")
        if each.command == Command.NEW_DEST
        and not each.to_kernel
        and len(each.data) == len(usual)
        and each.data[132:140] == usual[132:140]
    }
    del found[read_destination(usual, 0, len(usual), Family.INET).key]
    return list(found.values())


@DIALECTS
@given(data=st.data())
def test_a_whole_dump_is_read_as_its_messages_are(traits: Traits, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(KEYS))
    entry = data.draw(entries(key, traits))
    fake = FakeIpvs(traits)
    fake.load({key: entry})
    request = Encoder(FAMILY, traits).dump_destinations(key, 7)

    found = DestinationReader(traits).read(fake.answer(request), 7, key.family)

    assert found == entry.destinations


def test_a_readers_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_dump, "MEMO_LIMIT", 2)
    reader = DestinationReader(MAINLINE)
    dumped = [
        each.data
        for each in recorded("mainline-ipvsadm")
        if each.command == Command.NEW_DEST and not each.to_kernel
    ]

    for data in dumped:
        reader.read([data], sequence_of(data), Family.INET)
        assert len(reader._forms) <= 2
        assert len(reader._tails) <= 2
        assert len(reader._layouts) <= 2

    assert len({data[44:64] for data in dumped}) > 2


def test_a_service_of_an_unknown_protocol_is_left_out() -> None:
    request = bytearray(Encoder(FAMILY, MAINLINE).operation(AddService(Service(KEYS[0], "rr")), 1))
    at = request.index(b"\x06\x00\x02\x00") + 4
    assert request[at] == Protocol.TCP
    request[at] = 50

    assert read_service(bytes(request), 0, len(request), MAINLINE) is None
