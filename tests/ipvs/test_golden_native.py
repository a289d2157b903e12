"""What the FULLNAT kernels were recorded to take and say, request by request with its answer."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from support.ipvs_captures import Recorded, recorded

from lvskeeper.ipvs.control import Timeouts
from lvskeeper.ipvs.decode import (
    EST_TIMEOUT,
    has_attribute,
    read_local_address,
    read_service,
    read_service_key,
)
from lvskeeper.ipvs.decode_control import read_timeouts
from lvskeeper.ipvs.encode import ALL_FLAGS, Command, Encoder
from lvskeeper.ipvs.operation import AddLocal, DelLocal, SetService
from lvskeeper.ipvs.types import HASHED, Family, Protocol, Service, ServiceFlag, ServiceKey
from lvskeeper.ipvs.wire import NLMSG_ERROR, error_of
from lvskeeper.units import format_address, parse_address

FORKS = ("fork-v2-ipvsadm", "fork-v3-ipvsadm")
V3 = "fork-v3-est-timeout"
NAMES = pytest.mark.parametrize("name", FORKS)
HTTPS = ServiceKey(Family.INET, Protocol.TCP, parse_address("192.0.2.20"), 443)
HTTP = ServiceKey(Family.INET, Protocol.TCP, parse_address("192.0.2.10"), 80)


@dataclass
class Exchange:
    """A request of the recorded tool, and all that the kernel answered."""

    request: Recorded
    answers: list[Recorded] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The error number; 0 for success."""
        errors = [each for each in self.answers if each.kind == NLMSG_ERROR]
        return error_of(*whole(errors[0])) if errors else 0

    @property
    def key(self) -> ServiceKey | None:
        return read_service_key(*whole(self.request))


def whole(message: Recorded) -> tuple[bytes, int, int]:
    return message.data, 0, len(message.data)


def exchanges(name: str, *commands: Command) -> Iterator[Exchange]:
    """Yield the exchanges of *commands* in the capture *name*."""
    found: list[Exchange] = []
    for message in recorded(name):
        if message.to_kernel:
            found.append(Exchange(message))
        elif found:
            found[-1].answers.append(message)
    return (each for each in found if each.request.command in commands)


def words(exchange: Exchange) -> str:
    return " ".join(exchange.request.argv[1:])


LOCAL_ERRORS = {
    "-P -t 192.0.2.10:80 -z 203.0.113.1": [0, errno.EEXIST],
    "-P -t 192.0.2.99:80 -z 203.0.113.1": [errno.ESRCH],
    "-Q -t 192.0.2.10:80 -z 203.0.113.9": [errno.ENOENT],
    "-Q -t 192.0.2.10:80 -z 203.0.113.2": [0],
    "-Q -t 192.0.2.99:80 -z 203.0.113.2": [errno.ESRCH],
    "-P -f 7 -z 203.0.113.4": [0],
    "-P -t [2001:db8::10]:80 -z 2001:db8:2::1": [0],
}


@NAMES
def test_local_addresses_are_taken_and_refused(name: str) -> None:
    found: dict[str, list[int]] = {}
    for exchange in exchanges(name, Command.NEW_LADDR, Command.DEL_LADDR):
        found.setdefault(words(exchange), []).append(exchange.code)

    assert {text: found[text] for text in LOCAL_ERRORS} == LOCAL_ERRORS


@NAMES
def test_our_nests_of_local_addresses_are_the_tools_byte_for_byte(name: str) -> None:
    compared = 0
    for exchange in exchanges(name, Command.NEW_LADDR, Command.DEL_LADDR):
        key = exchange.key
        assert key is not None
        address = read_local_address(*whole(exchange.request), key.family).address
        new = exchange.request.command == Command.NEW_LADDR
        operation = (AddLocal if new else DelLocal)(key, address)
        ours = Encoder(exchange.request.kind, exchange.request.traits).operation(operation, 1)
        assert ours[-24:] == exchange.request.data[-24:]
        compared += 1
    assert compared == 14


@NAMES
def test_dumped_local_addresses_are_read_with_their_use(name: str) -> None:
    found: dict[str, list[str]] = {}
    for exchange in exchanges(name, Command.GET_LADDR):
        key = exchange.key
        assert key is not None
        if exchange.request.argv[1:] == ("-G",) or "-S" in exchange.request.argv:
            continue  # all services, once more
        for answer in exchange.answers:
            if answer.command != Command.NEW_LADDR or not answer.is_ipvs:
                continue
            local = read_local_address(*whole(answer), key.family)
            assert (local.conflicts, local.connections) == (0, 0)
            found.setdefault(str(key), []).append(format_address(local.address))

    assert found["tcp 192.0.2.10:80"] == ["203.0.113.1", "203.0.113.2"]
    assert found["fwmark 7"] == ["203.0.113.4"]
    # An IPv4 address in an IPv6 service is stored as its bytes: that kernel does not check.
    assert found["tcp [2001:db8::10]:80"] == ["2001:db8:2::1", "cb00:7105::"]


@NAMES
def test_synproxy_is_switched_on_and_off(name: str) -> None:
    asked: list[bool] = []
    for exchange in exchanges(name, Command.NEW_SERVICE, Command.SET_SERVICE):
        service = read_service(*whole(exchange.request), exchange.request.traits)
        assert service is not None
        if service.key != HTTPS:
            continue
        assert exchange.code == 0
        asked.append(bool(service.flags & ServiceFlag.SYNPROXY))
        ours = Encoder(exchange.request.kind, exchange.request.traits).operation(
            SetService(service, service), 1
        )
        # Flags and a mask of ones: what is not asked for is switched off. The tool sends back the
        # kernel's own flag as well, which the kernel sets by itself.
        mask = ALL_FLAGS.to_bytes(4, "little")
        hashed = HASHED if exchange.request.command == Command.SET_SERVICE else 0
        assert service.flags.to_bytes(4, "little") + mask in ours
        assert (service.flags | hashed).to_bytes(4, "little") + mask in exchange.request.data
    shown = [
        bool(service.flags & ServiceFlag.SYNPROXY)
        for exchange in exchanges(name, Command.GET_SERVICE)
        if "-L" in exchange.request.argv and "192.0.2.20:443" in exchange.request.argv
        for answer in exchange.answers
        if answer.command == Command.NEW_SERVICE
        and (service := read_service(*whole(answer), answer.traits)) is not None
    ]

    assert asked == [True, False, True, True, True]
    assert shown == [True, True, True]


@NAMES
def test_timeouts_are_ours_byte_for_byte_and_zero_keeps_one(name: str) -> None:
    sets = list(exchanges(name, Command.SET_CONFIG))
    wanted = [Timeouts(100, 20, 30), Timeouts(0, 0, 0)]
    assert [read_timeouts(*whole(each.request)) for each in sets] == wanted
    for exchange, timeouts in zip(sets, wanted, strict=True):
        assert exchange.code == 0
        encoder = Encoder(exchange.request.kind, exchange.request.traits)
        assert encoder.set_timeouts(timeouts, 1)[20:] == exchange.request.data[20:]

    answers = [
        read_timeouts(*whole(answer))
        for exchange in exchanges(name, Command.GET_CONFIG)
        for answer in exchange.answers
        if answer.command == Command.SET_CONFIG and answer.is_ipvs
    ]
    assert [each.tcp for each in answers] == [90, 100]
    assert answers[-1] == Timeouts(100, 20, 30)


def test_established_timeouts_are_sent_kept_and_shown() -> None:
    sent = [
        (exchange.request.command, service.established)
        for exchange in exchanges(V3, Command.NEW_SERVICE, Command.SET_SERVICE)
        if (service := read_service(*whole(exchange.request), exchange.request.traits)) is not None
        and service.key == HTTP
    ]
    shown = [
        service.established
        for exchange in exchanges(V3, Command.GET_SERVICE)
        if "-L" in exchange.request.argv
        for answer in exchange.answers
        if answer.command == Command.NEW_SERVICE and answer.is_ipvs
        if (service := read_service(*whole(answer), answer.traits)) is not None
        if service.key == HTTP
    ]

    # The tool, too, reads a service first and sends its timeout with every change.
    assert sent[-3:] == [
        (Command.NEW_SERVICE, 600), (Command.SET_SERVICE, 600), (Command.SET_SERVICE, 700),
    ]  # fmt: skip
    # A service that asked for none has what SET_CONFIG made the default before.
    assert shown[0] == 100
    assert shown[-4:] == [600, 600, 700, 700]


def test_our_established_timeout_is_the_tools_attribute() -> None:
    service = Service(HTTP, "wrr", established=700)
    (theirs,) = (
        exchange.request
        for exchange in exchanges(V3, Command.SET_SERVICE)
        if words(exchange) == "-E -t 192.0.2.10:80 -V 700"
    )

    ours = Encoder(theirs.kind, theirs.traits).operation(SetService(service, service), 1)

    attribute = bytes.fromhex("08000b00") + (700).to_bytes(4, "little")
    assert attribute in ours
    assert attribute in theirs.data
    assert has_attribute(ours, 0, len(ours), EST_TIMEOUT)
    assert read_service(ours, 0, len(ours), theirs.traits) == service


ERRORS = {
    "-A -t 192.0.2.11:80 -s nosuch": errno.ENOENT,
    "-a -t 192.0.2.10:80 -r 198.51.100.3:8080 -b -x 10 -y 20": errno.ERANGE,
    "-a -t 192.0.2.99:80 -r 198.51.100.1:8080 -b": errno.ESRCH,
    "-e -t 192.0.2.10:80 -r 198.51.100.77:8080 -b -w 5": errno.ENOENT,
    "-d -t 192.0.2.99:80 -r 198.51.100.2:8080": errno.ESRCH,
}
CHANGES = (
    Command.NEW_SERVICE, Command.SET_SERVICE, Command.DEL_SERVICE,
    Command.NEW_DEST, Command.SET_DEST, Command.DEL_DEST,
)  # fmt: skip


@NAMES
def test_refusals_have_the_numbers_that_are_put_into_words(name: str) -> None:
    found = {words(each): each.code for each in exchanges(name, *CHANGES)}

    assert {text: found[text] for text in ERRORS} == ERRORS
    again = [each.code for each in exchanges(name, *CHANGES) if words(each) in TWICE]
    assert sorted(again) == [0, 0, errno.EEXIST, errno.EEXIST]


TWICE = (
    "-A -t 192.0.2.10:80 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.1:8080 -b -w 1",
)


def test_zeroing_is_refused_by_the_third_generation_only() -> None:
    codes = {name: [each.code for each in exchanges(name, Command.ZERO)] for name in (*FORKS, V3)}

    assert codes == {
        "fork-v2-ipvsadm": [0, errno.ESRCH, 0],
        "fork-v3-ipvsadm": [errno.EACCES, errno.ESRCH, errno.EACCES],
        V3: [errno.EACCES],
    }
