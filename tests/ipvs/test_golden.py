"""Every recorded message: faithful as a tree, and the same in meaning as what we would send."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from support.ipvs_captures import CAPTURES, Recorded, everything, recorded

from lvskeeper.ipvs import decode_dump
from lvskeeper.ipvs.control import SyncState
from lvskeeper.ipvs.decode import (
    has_attribute,
    read_destination,
    read_local_address,
    read_service,
    read_service_key,
)
from lvskeeper.ipvs.decode_control import (
    read_daemon,
    read_destination_stats,
    read_info,
    read_service_counters,
    read_timeouts,
)
from lvskeeper.ipvs.decode_dump import DestinationReader
from lvskeeper.ipvs.decode_load import LoadReader
from lvskeeper.ipvs.dialect import (
    FORK_V2,
    FORK_V3,
    GENL_ID_CTRL,
    Dialect,
    FamilyReply,
    family_request,
    parse_family,
    probe,
)
from lvskeeper.ipvs.encode import Command, Encoder
from lvskeeper.ipvs.operation import (
    AddDest,
    AddLocal,
    AddService,
    DelDest,
    DelLocal,
    DelService,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import HASHED, Family, ServiceFlag, ServiceKey
from lvskeeper.ipvs.wire import (
    NLMSG_DONE,
    NLMSG_ERROR,
    CodecError,
    error_of,
    format_message,
    messages,
    parse_message,
)

MESSAGES = everything()
NAMES = pytest.mark.parametrize("name", list(CAPTURES))


def whole(message: Recorded) -> tuple[bytes, int, int]:
    return message.data, 0, len(message.data)


def key_in(message: Recorded) -> ServiceKey:
    key = read_service_key(*whole(message))
    assert key is not None
    return key


@NAMES
def test_every_message_comes_back_byte_for_byte(name: str) -> None:
    found = recorded(name)

    assert len(found) > 200
    for message in found:
        assert format_message(parse_message(message.data, message.nested)) == message.data


@NAMES
def test_every_command_is_there(name: str) -> None:
    seen = {message.command for message in recorded(name) if message.to_kernel and message.is_ipvs}

    wanted = set(range(1, 18)) - {Command.SET_INFO}
    if name == "fork-v3-est-timeout":
        wanted = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17}
    if CAPTURES[name].native_fullnat:
        wanted |= {18, 19, 20}
    assert seen == wanted


def our_request(message: Recorded) -> bytes:
    """Return what we send to the same effect."""
    encoder = Encoder(message.kind, message.traits)
    key = key_in(message)
    return encoder.operation(_operation(message, key), 7)


def _operation(message: Recorded, key: ServiceKey) -> Operation:
    span = whole(message)
    match message.command:
        case Command.NEW_SERVICE | Command.SET_SERVICE:
            service = read_service(*span, message.traits)
            assert service is not None
            if message.command == Command.NEW_SERVICE:
                return AddService(service)
            return SetService(service, service)
        case Command.DEL_SERVICE:
            return DelService(key)
        case Command.NEW_LADDR | Command.DEL_LADDR:
            address = read_local_address(*span, key.family).address
            return (AddLocal if message.command == Command.NEW_LADDR else DelLocal)(key, address)
        case _:
            destination = read_destination(*span, key.family)
            if message.command == Command.SET_DEST:
                return SetDest(key, destination, destination)
            return (AddDest if message.command == Command.NEW_DEST else DelDest)(key, destination)


@NAMES
def test_our_requests_mean_what_the_tool_meant(name: str) -> None:
    changes = {1, 2, 3, 5, 6, 7, 18, 19}
    compared: Counter[int] = Counter()
    for message in recorded(name):
        if not (message.to_kernel and message.is_ipvs and message.command in changes):
            continue
        ours = our_request(message)
        span = ours, 0, len(ours)
        key = key_in(message)
        assert ours[16] == message.command
        assert read_service_key(*span) == key
        match message.command:
            case Command.NEW_SERVICE | Command.SET_SERVICE:
                expected = read_service(*whole(message), message.traits)
                assert read_service(*span, message.traits) == expected
            case Command.NEW_DEST | Command.SET_DEST:
                wanted = read_destination(*whole(message), key.family)
                assert read_destination(*span, key.family) == wanted
            case Command.DEL_DEST:
                wanted = read_destination(*whole(message), key.family)
                assert read_destination(*span, key.family).key == wanted.key
            case Command.NEW_LADDR | Command.DEL_LADDR:
                local = read_local_address(*whole(message), key.family)
                assert read_local_address(*span, key.family) == local
            case _:
                assert message.command == Command.DEL_SERVICE
        compared[message.command] += 1
    assert compared.total() > 5


def test_our_destination_nest_is_the_fork_tools_byte_for_byte() -> None:
    compared = 0
    for message in recorded("fork-v3-ipvsadm"):
        if message.to_kernel and message.command in (Command.NEW_DEST, Command.SET_DEST):
            assert our_request(message)[-64:] == message.data[-64:]
            compared += 1
    assert compared == 15


def test_dumps_read_with_and_without_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("this message was not read by its layout")

    slow = {
        name: {
            message.data: read_destination(*whole(message), key.family)
            for message, key in dumped_destinations(name)
        }
        for name in CAPTURES
    }
    monkeypatch.setattr(decode_dump, "read_destination", fail)
    for name, traits in CAPTURES.items():
        reader = DestinationReader(traits)
        for message, key in dumped_destinations(name):
            wanted = slow[name][message.data]
            if Family.of(wanted.key.address) is not key.family:
                continue  # rare: a tunnel to another family
            number = int.from_bytes(message.data[8:12], "little")
            found = reader.read([message.data], number, key.family)
            assert found == {wanted.key: wanted}
    assert sum(map(len, slow.values())) > 100


def dumped_destinations(name: str) -> Iterator[tuple[Recorded, ServiceKey]]:
    """Return each destination that a kernel told, with the service that was asked for."""
    key = None
    for message in recorded(name):
        if not message.is_ipvs:
            continue
        if message.to_kernel and message.command == Command.GET_DEST:
            key = key_in(message)
        if not message.to_kernel and message.command == Command.NEW_DEST:
            assert key is not None
            yield message, key


def answers(command: Command) -> list[Recorded]:
    return [
        message
        for message in MESSAGES
        if message.is_ipvs and not message.to_kernel and message.command == command
    ]


def test_services_are_read_without_the_hashed_flag() -> None:
    found = [read_service(*whole(each), each.traits) for each in answers(Command.NEW_SERVICE)]

    assert len(found) > 100
    for service in found:
        assert service is not None
        assert not service.flags & HASHED
        assert service.scheduler
    texts = {str(service.key) for service in found if service is not None}
    assert {"tcp [2001:db8::10]:80", "fwmark 7", "fwmark 9 inet6", "udp 192.0.2.30:53"} <= texts
    assert any(each is not None and each.flags & ServiceFlag.SYNPROXY for each in found)
    assert {90, 600} <= {each.established for each in found if each is not None}
    assert any(each is not None and each.engine == "sip" for each in found)
    assert any(each is not None and each.prefix == 16 and each.persistence == 60 for each in found)


def test_established_timeouts_are_the_third_forks() -> None:
    marked = {
        message.traits.dialect: has_attribute(*whole(message), 11)
        for message in answers(Command.NEW_SERVICE)
        if "-L" in message.argv
    }

    assert marked[FORK_V2.dialect] is False
    assert marked[FORK_V3.dialect] is True


def test_every_answer_has_counters() -> None:
    for message in answers(Command.NEW_SERVICE):
        assert read_service_counters(*whole(message)).connections >= 0
    found = [
        read_destination_stats(*whole(each), Family.INET) for each in answers(Command.NEW_DEST)
    ]
    assert len(found) > 100
    assert {(each.active, each.inactive, each.persistent) for each in found} == {(0, 0, 0)}
    reader = LoadReader()
    for each, stats in zip(answers(Command.NEW_DEST), found, strict=True):
        family = Family.of(stats.key.address)
        assert reader.read(*whole(each), family) == (stats.key, 0)


def test_the_rest_is_read() -> None:
    infos = {read_info(*whole(each)) for each in answers(Command.SET_INFO)}
    assert {info.version for info in infos} == {0x010201}
    assert {info.table_size for info in infos} >= {4096, 1048576}
    timeouts = {read_timeouts(*whole(each)).tcp for each in answers(Command.SET_CONFIG)}
    assert {90, 600, 900} <= timeouts
    daemons = [read_daemon(*whole(each)) for each in answers(Command.NEW_DAEMON)]
    assert {each.state for each in daemons} == {SyncState.MASTER, SyncState.BACKUP}
    assert any(each.ttl == 2 and each.port == 8849 and each.payload == 1400 for each in daemons)
    assert any(len(each.group) == 16 for each in daemons)


def test_errors_are_read() -> None:
    codes = {
        error_of(*whole(message))
        for message in MESSAGES
        if message.kind in (NLMSG_ERROR, NLMSG_DONE)
    }

    assert {0, 2, 3, 13, 17, 22, 34} <= codes


def families(name: str) -> list[FamilyReply]:
    found = []
    for message in recorded(name):
        if message.kind == GENL_ID_CTRL and not message.to_kernel:
            reply = parse_family(*whole(message))
            if reply.name == "IPVS":
                found.append(reply)
    return found


@NAMES
def test_the_probe_tells_the_dialects(name: str) -> None:
    reply = families(name)[0]
    v3 = CAPTURES[name] is FORK_V3

    sysctls = frozenset({"conn_max_num"} if v3 else {"fullnat_toa_entry"})
    assert probe(reply.operations, sysctls=sysctls) is CAPTURES[name].dialect
    if v3:
        assert probe(reply.operations, established_seen=True) is Dialect.FORK_V3
        assert probe(reply.operations) is Dialect.FORK_V2


def test_sysctls_alone_make_no_fork() -> None:
    assert probe(frozenset(range(1, 18)), sysctls={"conn_max_num"}) is Dialect.MAINLINE
    assert probe(frozenset({18, 19})) is Dialect.MAINLINE


def test_our_family_request_is_the_tools() -> None:
    request = next(
        message
        for message in recorded("mainline-ipvsadm")
        if message.to_kernel and message.kind == GENL_ID_CTRL
    )

    ours = parse_message(family_request(1)).body
    assert ours == parse_message(request.data).body


def read_everything(message: Recorded, data: bytes) -> None:
    """Read *data*, which was a message like *message* once, in every way that fits."""
    for _, _, start, end in messages(data):
        parse_message(data, message.nested)
        if message.kind in (NLMSG_ERROR, NLMSG_DONE):
            error_of(data, start, end)
        elif message.kind == GENL_ID_CTRL:
            parse_family(data, start, end)
        else:
            _read_ipvs(message, data, start, end)


def _read_ipvs(message: Recorded, data: bytes, start: int, end: int) -> None:
    match message.command:
        case Command.NEW_SERVICE | Command.SET_SERVICE | Command.DEL_SERVICE:
            read_service(data, start, end, message.traits)
            read_service_counters(data, start, end)
        case Command.NEW_DEST | Command.SET_DEST | Command.DEL_DEST:
            read_destination_stats(data, start, end, Family.INET)
            number = int.from_bytes(data[start + 8 : start + 12], "little")
            DestinationReader(message.traits).read([data[start:end]], number, Family.INET)
            LoadReader().read(data, start, end, Family.INET)
        case Command.NEW_LADDR | Command.DEL_LADDR:
            read_local_address(data, start, end, Family.INET)
        case Command.NEW_DAEMON | Command.DEL_DAEMON:
            read_daemon(data, start, end)
        case Command.SET_INFO:
            read_info(data, start, end)
        case Command.SET_CONFIG:
            read_timeouts(data, start, end)
        case _:
            read_service_key(data, start, end)


def distinct() -> list[Recorded]:
    """One message of each kind, direction and length."""
    found = {
        (each.traits.dialect, each.kind, each.command, each.to_kernel, len(each.data)): each
        for each in MESSAGES
    }
    return list(found.values())


def tolerantly(message: Recorded, data: bytes) -> bool:
    try:
        read_everything(message, data)
    except CodecError:
        return False
    return True


def test_a_cut_message_raises_the_codecs_own_error_only() -> None:
    refused = 0
    for message in distinct():
        for size in range(1, len(message.data)):
            cut = message.data[:size]
            refused += not tolerantly(message, cut)
            # The same with a length that fits, so that the cut is met deeper down.
            if size >= 16:
                tolerantly(message, size.to_bytes(4, "little") + cut[4:])
    assert refused > 1000


def test_a_changed_byte_raises_the_codecs_own_error_only() -> None:
    chance = random.Random(7)
    for message in distinct():
        for _ in range(60):
            data = bytearray(message.data)
            data[chance.randrange(len(data))] = chance.randrange(256)
            tolerantly(message, bytes(data))
