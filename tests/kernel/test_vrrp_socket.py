"""Adverts over real raw sockets: from ours to ours, each test on a link of its own."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.vrrp_net import (
    DEVICE,
    HERE4,
    HERE6,
    HERE_LINK,
    THERE4,
    THERE6,
    THERE_LINK,
    heard,
    inside,
    prepare_device,
    two_hosts,
)

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.vrrp_socket import (
    InterfaceGoneError,
    Receiver,
    Sender,
    SignedSender,
    find_interface,
)
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import NO_AUTH, Authentication, AuthKind
from lvskeeper.vrrp.packet import AH, GROUP4, GROUP6, encode, encode_signed
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import (
    Accepted,
    Peer,
    Received,
    Reject,
    RejectKind,
    Rules,
    validate,
)

pytestmark = pytest.mark.root

VIP4, VIP6 = parse_address("192.0.2.100"), parse_address("2001:db8::100")
GROUP4_OTHER = parse_address("224.0.0.180")
PASSWORD = Authentication(AuthKind.PASS, b"s3cret")
SIGNED = Authentication(AuthKind.AH, b"s3cret")
QUIET = 0.1
"""Seconds in which nothing is to be heard."""


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    with two_hosts() as made:
        yield made


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


def advert(version: int = 3, vrid: int = 51, *vips: Address, priority: int = 150) -> Advert:
    return Advert(version, vrid, priority, 1.0, vips or (VIP4,))


def one(receiver: Receiver) -> Received:
    (packet,) = heard(receiver, 1)
    assert isinstance(packet, Received)
    return packet


def accepted(packet: Received | Reject, rules: Rules) -> Accepted:
    assert isinstance(packet, Received)
    verdict = validate(packet, rules)
    assert isinstance(verdict, Accepted), verdict
    assert verdict.notes == ()
    return verdict


class Way(NamedTuple):
    """A way in which an advert goes from here to there."""

    name: str
    version: int
    vip: Address
    source: Address
    destination: Address
    auth: Authentication = NO_AUTH


WAYS = (
    Way("v2", 2, VIP4, HERE4, GROUP4),
    Way("v2 PASS", 2, VIP4, HERE4, GROUP4, PASSWORD),
    Way("v2 PASS unicast", 2, VIP4, HERE4, THERE4, PASSWORD),
    Way("v3", 3, VIP4, HERE4, GROUP4),
    Way("v3 unicast", 3, VIP4, HERE4, THERE4),
    Way("v3 inet6", 3, VIP6, HERE_LINK, GROUP6),
    Way("v3 inet6 unicast", 3, VIP6, HERE6, THERE6),
    Way("v3 inet6 link-local", 3, VIP6, HERE_LINK, THERE_LINK),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_advert_arrives_as_it_was_sent(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack, way: Way
) -> None:
    here, there = hosts
    family = 6 if len(way.vip) == 16 else 4
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, family))
        own = stack.enter_context(Receiver(interface, family))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, family))
    sent = advert(way.version, 51, way.vip)
    message = encode(sent, way.source, way.destination, auth=way.auth)
    sender.send(message, way.source, way.destination)
    packet = one(receiver)
    assert (packet.source, packet.destination, packet.ttl) == (way.source, way.destination, 255)
    peers = (Peer(way.source),) if way.destination not in {GROUP4, GROUP6} else ()
    rules = Rules(
        way.version, 51, 1.0, (way.vip,), auth=way.auth, peers=peers, check_source=True
    )  # fmt: skip
    assert accepted(packet, rules).advert == sent
    assert heard(own, 1, seconds=QUIET) == [], "our own multicast comes back"


@pytest.mark.parametrize("destination", [GROUP4, THERE4])
def test_a_signed_advert_arrives_with_its_signature(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack, destination: Address
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(SignedSender(interface))
        own = stack.enter_context(Receiver(interface, 4, protocol=AH))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, 4, protocol=AH))
        plain = stack.enter_context(Receiver(interface, 4))
    sent = advert(2)
    for sequence in (7, 0x10000):
        sender.send(
            encode_signed(sent, HERE4, destination, secret=SIGNED.secret, sequence=sequence)
        )
    peers = (Peer(HERE4),) if destination == THERE4 else ()
    rules = Rules(2, 51, 1.0, (VIP4,), auth=SIGNED, peers=peers)
    verdicts = [accepted(packet, rules) for packet in heard(receiver, 2)]
    assert [verdict.sequence for verdict in verdicts] == [7, 0x10000]
    assert {verdict.advert for verdict in verdicts} == {sent}
    assert {verdict.ttl for verdict in verdicts} == {255}
    assert heard(own, 1, seconds=QUIET) == []
    assert plain.drain() == [], "protocol 51 is not 112"


@pytest.mark.parametrize(
    ("source", "destination", "vip"), [(HERE4, THERE4, VIP4), (HERE6, THERE6, VIP6)]
)
def test_the_ttl_of_unicast_is_the_senders_and_seen(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack, source: Address,
    destination: Address, vip: Address,
) -> None:  # fmt: skip
    here, there = hosts
    family = 6 if len(vip) == 16 else 4
    with inside(here):
        sender = stack.enter_context(Sender(None, family))
    with inside(there):
        receiver = stack.enter_context(Receiver(None, family))
    data = encode(advert(3, 51, vip), source, destination)
    for ttl in (17, 255, 1):
        sender.send(data, source, destination, ttl)
    packets = heard(receiver, 3)
    assert [packet.ttl for packet in packets if isinstance(packet, Received)] == [17, 255, 1]


@pytest.mark.parametrize("family", [4, 6])
def test_all_virtual_routers_are_heard_and_a_drain_is_bounded(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack, family: int
) -> None:
    here, there = hosts
    source, group, vip = (HERE4, GROUP4, VIP4) if family == 4 else (HERE_LINK, GROUP6, VIP6)
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, family))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, family))
    for vrid in range(1, 256):
        sender.send(encode(advert(3, vrid, vip), source, group), source, group)
    time.sleep(QUIET)
    first, rest = receiver.drain(100), receiver.drain()
    assert (len(first), len(rest), receiver.drain()) == (100, 155, [])
    vrids = [packet.vrid for packet in first + rest if isinstance(packet, Received)]
    assert vrids == list(range(1, 256))


def test_a_burst_of_a_thousand_waits_for_a_slow_reader(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, 4))
    data = encode(advert(), HERE4, GROUP4)
    for _ in range(1020):
        sender.send(data, HERE4, GROUP4)
    assert len(heard(receiver, 1020, seconds=2)) == 1020


def test_only_the_own_groups_are_heard(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
    with inside(there) as interface:
        first = stack.enter_context(Receiver(interface, 4))
        second = stack.enter_context(Receiver(interface, 4, groups=[GROUP4_OTHER]))
    for vrid, to in ((1, GROUP4), (2, GROUP4_OTHER)):
        sender.send(encode(advert(3, vrid), HERE4, to), HERE4, to)
    assert (one(first).vrid, one(second).vrid) == (1, 2)
    assert heard(first, 1, seconds=QUIET) == heard(second, 1, seconds=QUIET) == []


@pytest.mark.parametrize("family", [4, 6])
def test_one_receiver_joins_several_groups(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack, family: int
) -> None:
    here, there = hosts
    source, vip, groups = HERE4, VIP4, (GROUP4, GROUP4_OTHER)
    if family == 6:
        source, vip, groups = HERE_LINK, VIP6, (GROUP6, parse_address("ff02::1:12"))
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, family))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, family, groups=groups))
    for group in groups:
        sender.send(encode(advert(3, 51, vip), source, group), source, group)
    packets = heard(receiver, 2)
    assert tuple(each.destination for each in packets if isinstance(each, Received)) == groups


def test_what_is_no_advert_is_a_reject_and_not_an_error(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        senders = [stack.enter_context(Sender(interface, family)) for family in (4, 6)]
    with inside(there) as interface:
        receivers = [stack.enter_context(Receiver(interface, family)) for family in (4, 6)]
    senders[0].send(b"short", HERE4, GROUP4)
    senders[1].send(b"short", HERE_LINK, GROUP6)
    for receiver in receivers:
        (reject,) = heard(receiver, 1)
        assert isinstance(reject, Reject)
        assert reject.kind is RejectKind.LENGTH


def test_a_wrong_checksum_of_ipv6_reaches_our_own_judgement(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 6))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, 6))
    data = bytearray(encode(advert(3, 51, VIP6), HERE_LINK, GROUP6))
    data[7] ^= 1
    sender.send(bytes(data), HERE_LINK, GROUP6)
    verdict = validate(one(receiver), Rules(3, 51, 1.0, (VIP6,)))
    assert isinstance(verdict, Reject)
    assert verdict.kind is RejectKind.CHECKSUM


def test_255_addresses_of_ipv6_arrive_in_fragments(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 6))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, 6))
    vips = tuple(parse_address(f"2001:db8::1:{number:x}") for number in range(255))
    sent = advert(3, 51, *vips)
    sender.send(encode(sent, HERE_LINK, GROUP6), HERE_LINK, GROUP6)
    assert accepted(one(receiver), Rules(3, 51, 1.0, vips)).advert == sent


def test_a_sender_keeps_nothing_of_what_arrives(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
    with inside(there) as interface:
        deaf = stack.enter_context(Sender(interface, 4))
        receiver = stack.enter_context(Receiver(interface, 4))
    sender.send(encode(advert(), HERE4, THERE4), HERE4, THERE4)
    assert one(receiver).destination == THERE4
    with pytest.raises(BlockingIOError):
        deaf._socket.recv(100)


@pytest.mark.asyncio
async def test_a_loop_is_woken_by_an_advert(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, 4))
    loop = asyncio.get_running_loop()
    came: asyncio.Future[list[Received | Reject]] = loop.create_future()
    loop.add_reader(receiver.fileno(), lambda: came.set_result(receiver.drain()))
    try:
        sender.send(encode(advert(), HERE4, GROUP4), HERE4, GROUP4)
        async with asyncio.timeout(5):
            assert len(await came) == 1
    finally:
        loop.remove_reader(receiver.fileno())


def test_an_interface_that_vanishes_is_named_and_opened_again(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        senders = [stack.enter_context(Sender(interface, family)) for family in (4, 6)]
        signed = stack.enter_context(SignedSender(interface))
        receiver = stack.enter_context(Receiver(interface, 4))
        opened = (*senders, signed, receiver)
        assert all(each.present() for each in opened)
        here.ip(f"link del {DEVICE}")
        assert not any(each.present() for each in opened)
        with pytest.raises(InterfaceGoneError, match="interface eth0 does not exist"):
            find_interface(DEVICE)
        with pytest.raises(InterfaceGoneError, match="interface eth0 does not exist"):
            Receiver(interface, 4)
    data = encode(advert(), HERE4, GROUP4)
    with pytest.raises(InterfaceGoneError):
        senders[0].send(data, HERE4, GROUP4)
    with pytest.raises(InterfaceGoneError):
        senders[1].send(encode(advert(3, 51, VIP6), HERE_LINK, GROUP6), HERE_LINK, GROUP6)
    with pytest.raises(InterfaceGoneError):
        signed.send(encode_signed(advert(2), HERE4, GROUP4, secret=b"x", sequence=1))
    assert receiver.drain() == []
    here.ip(f"link add {DEVICE} type veth peer {DEVICE} netns {there.name}")
    prepare_device(here, 1)
    prepare_device(there, 2)
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
    with inside(there) as interface:
        again = stack.enter_context(Receiver(interface, 4))
    sender.send(data, HERE4, GROUP4)
    assert one(again).vrid == 51


def test_a_refusal_says_what_to_do(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, _ = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
        sender6 = stack.enter_context(Sender(interface, 6))
    foreign = parse_address("198.51.100.9")
    with pytest.raises(OperatorError) as refused:
        sender.send(encode(advert(), foreign, GROUP4), foreign, GROUP4)
    # the reason after it differs between kernels
    assert refused.value.message.startswith(
        "cannot send VRRP from 198.51.100.9 to 224.0.0.18 on eth0: "
    )
    assert "the source is no address of this host" in refused.value.hint
    foreign6 = parse_address("fe80::9")
    with pytest.raises(OperatorError, match="the source is no address of this host"):
        sender6.send(encode(advert(3, 51, VIP6), foreign6, GROUP6), foreign6, GROUP6)
    here.run(["nft", "-f", "-"], input_text="table ip t { chain o {"
             " type filter hook output priority 0; ip protocol 112 drop\n }\n }\n")  # fmt: skip
    with pytest.raises(OperatorError, match="a firewall rule drops them") as refused:
        sender.send(encode(advert(), HERE4, GROUP4), HERE4, GROUP4)
    assert refused.value.status is ExitStatus.KERNEL


def test_without_privilege_the_message_says_which_is_missing(
    hosts: tuple[Namespace, Namespace],
) -> None:
    # Only capabilities are dropped: another user might not be able to read this tree
    program = (
        "from lvskeeper.errors import OperatorError\n"
        "from lvskeeper.kernel.neighbours import Announcer\n"
        "from lvskeeper.kernel.vrrp_socket import Receiver, Sender, find_interface\n"
        "eth0 = find_interface('eth0')\n"
        "for kind, family in (Receiver, [4]), (Sender, [6]), (Announcer, []):\n"
        "    try:\n        kind(eth0, *family)\n"
        "    except OperatorError as error:\n        print(int(error.status), error)\n"
    )
    dropped = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    said = hosts[0].run([*dropped, sys.executable, "-c", program]).stdout
    hint = "hint: run as root, or with CAP_NET_RAW\n"
    assert said == (
        f"3 cannot receive VRRP on eth0: Operation not permitted\n{hint}"
        f"3 cannot send VRRP on eth0: Operation not permitted\n{hint}"
        f"3 cannot announce addresses on eth0: Operation not permitted\n{hint}"
    )


def test_an_interface_that_is_down_refuses_and_recovers(
    hosts: tuple[Namespace, Namespace], stack: contextlib.ExitStack
) -> None:
    here, there = hosts
    with inside(here) as interface:
        sender = stack.enter_context(Sender(interface, 4))
    with inside(there) as interface:
        receiver = stack.enter_context(Receiver(interface, 4))
    data = encode(advert(), HERE4, GROUP4)
    here.ip(f"link set {DEVICE} down")
    with pytest.raises(OperatorError, match="the interface is down"):
        sender.send(data, HERE4, GROUP4)
    here.ip(f"link set {DEVICE} up")
    for host in (here, there):
        assert "UP" in host.run(["ip", "link", "show", DEVICE]).stdout
    there.ip(f"link set {DEVICE} down", f"link set {DEVICE} up")
    time.sleep(QUIET)
    sender.send(data, HERE4, GROUP4)
    assert one(receiver).vrid == 51, "the membership outlives the link"


def test_descriptors_are_released_whatever_happens(hosts: tuple[Namespace, Namespace]) -> None:
    here, _ = hosts

    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with inside(here) as interface:
        before = opened()
        with Receiver(interface, 4) as receiver, Sender(interface, 6), SignedSender(interface):
            assert opened() == before + 3
        receiver.close()
        with pytest.raises(OperatorError):
            Receiver(interface, 4, groups=[parse_address("192.0.2.77")])
        here.ip(f"link del {DEVICE}")
        with pytest.raises(InterfaceGoneError):
            Sender(interface, 4)
        assert opened() == before
