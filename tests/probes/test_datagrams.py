"""UDP_CHECK and DNS_CHECK against sockets of this host, and scapy's DNS as the other side."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
from scapy.layers.dns import DNS, DNSRR, DNSRRMX
from support.fullnat_net import empty_namespace, run
from support.http_servers import free_port
from support.probing import probed

from lvskeeper.health.dns import TYPES, answer_code, encode_name, encode_question
from lvskeeper.health.spec import CheckKind, CheckSpec, Dns, Phase, Source, Udp
from lvskeeper.units import parse_address

pytestmark = pytest.mark.asyncio

Answers = Callable[[bytes], Iterable[bytes]]


class Server(asyncio.DatagramProtocol):
    """Answers each datagram with what a function makes of it."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.peers: list[tuple[str, int]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.peers.append(addr[:2])
        for answer in self.answers(data):
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def serving(answers: Answers, host: str = "127.0.0.1") -> AsyncIterator[tuple[int, Server]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Server(answers), local_addr=(host, 0)
    )
    yield transport.get_extra_info("sockname")[1], server
    transport.close()


def silent(_: bytes) -> Iterable[bytes]:
    return ()


def echo(data: bytes) -> Iterable[bytes]:
    return (data,)


def udp(port: int, asked: Udp, *, host: str = "127.0.0.1", limit: float = 5.0) -> CheckSpec:
    return CheckSpec(CheckKind.UDP, parse_address(host), port, connect_timeout=limit, udp=asked)


def dns(port: int, asked: Dns, *, host: str = "127.0.0.1", limit: float = 5.0) -> CheckSpec:
    return CheckSpec(CheckKind.DNS, parse_address(host), port, connect_timeout=limit, dns=asked)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_closed_port_is_told_by_icmp(host: str) -> None:
    for result in (
        await probed(udp(free_port(), Udp(), host=host)),
        await probed(dns(free_port(), Dns(), host=host)),
    ):
        assert (result.phase, result.detail) == (Phase.STATUS, "connection refused")
        assert result.elapsed < 2


async def test_silence_is_well_without_require_reply_and_no_other_way() -> None:
    async with serving(silent) as (port, server):
        result = await probed(udp(port, Udp(), limit=0.2))
        assert (result.phase, result.detail) == (Phase.DONE, "")
        assert result.elapsed >= 0.2
        assert len(server.peers) == 1
        for late in (
            await probed(udp(port, Udp(require_reply=True), limit=0.2)),
            await probed(dns(port, Dns(), limit=0.2)),
        ):
            assert (late.phase, late.detail) == (
                Phase.TIMEOUT, "timed out after 200 ms while waiting for the answer",
            )  # fmt: skip


WANTED = Udp(b"ping", require_reply=True, reply=b"pong", mask=b"\xff\x00\xff\xf0")


@pytest.mark.parametrize(
    ("asked", "answer", "detail"),
    [
        (Udp(require_reply=True), b"x" * 60_000, ""),
        (WANTED, b"pong", ""),
        (WANTED, b"pang and more", ""),
        (WANTED, b"pont", "an answer that begins otherwise: 706f6e74"),
        (WANTED, b"pon", "an answer that begins otherwise: 706f6e"),
        (replace(WANTED, shortest=5), b"pong", "an answer of 4 bytes"),
        (replace(WANTED, longest=4), b"pong!", "an answer of 5 bytes"),
        (replace(WANTED, longest=4), b"pong", ""),
    ],
)
async def test_answers_of_udp(asked: Udp, answer: bytes, detail: str) -> None:
    async with serving(lambda data: (answer,) if data == asked.payload else ()) as (port, _):
        result = await probed(udp(port, asked))
    assert (result.phase, result.detail) == (Phase.BODY if detail else Phase.DONE, detail)


async def test_an_answer_ends_the_wait_where_none_is_needed() -> None:
    async with serving(echo, "::1") as (port, _):
        result = await probed(udp(port, Udp(), host="::1"))
    assert result.ok
    assert result.elapsed < 2


async def test_datagrams_come_from_the_address_and_port_that_are_given() -> None:
    own = free_port()
    async with serving(echo) as (port, server):
        spec = replace(udp(port, Udp()), source=Source(parse_address("127.0.0.7"), own))
        assert (await probed(spec)).ok
        assert (await probed(spec)).ok
    assert server.peers == [("127.0.0.7", own)] * 2


def answering(code: int = 0, name: str = "www.example.com.", kind: int = 1) -> Answers:
    """Answer as scapy's DNS does, where the question is the one that is given."""

    def answers(data: bytes) -> Iterable[bytes]:
        asked = DNS(data)
        assert (asked.qr, asked.rd, asked.qdcount) == (0, 1, 1)
        (question,) = asked.qd
        if (question.qname.decode(), question.qtype, question.qclass) != (name, kind, 1):
            return
        record = DNSRR(rrname=name, type=1, rdata="192.0.2.1")
        yield bytes(DNS(id=asked.id, qr=1, rd=1, rcode=code, qd=asked.qd, an=[record]))

    return answers


@pytest.mark.parametrize("name", ["www.example.com", "www.example.com."])
async def test_a_dns_server_answers(name: str) -> None:
    async with serving(answering()) as (port, _):
        result = await probed(dns(port, Dns(name, 1)))
    assert (result.phase, result.detail) == (Phase.DONE, "")
    async with serving(answering(name=".", kind=6), "::1") as (port, _):
        assert (await probed(dns(port, Dns(), host="::1"))).ok


@pytest.mark.parametrize(
    ("code", "detail"),
    [(2, "response code 2 SERVFAIL"), (3, "response code 3 NXDOMAIN"), (11, "response code 11")],
)
async def test_error_codes_of_dns(code: int, detail: str) -> None:
    async with serving(answering(code)) as (port, _):
        result = await probed(dns(port, Dns("www.example.com", 1)))
    assert (result.phase, result.detail) == (Phase.STATUS, detail)


def holding(*records: DNSRR | DNSRRMX, cut: int = 0) -> Answers:
    def answers(data: bytes) -> Iterable[bytes]:
        asked = DNS(data)
        whole = bytes(DNS(id=asked.id, qr=1, qd=asked.qd, an=list(records)))
        yield whole[: len(whole) - cut]

    return answers


def record(kind: int, data: object, name: str = "www.example.com.") -> DNSRR:
    return DNSRR(rrname=name, type=kind, rdata=data)


TWO = (record(1, "192.0.2.1"), record(1, "192.0.2.2"))
ALIAS = record(5, "Web.example.com.")


@pytest.mark.parametrize(
    ("answers", "kind", "wanted", "detail"),
    [
        (holding(*TWO), 1, (), ""),
        (holding(*TWO), 1, ("192.0.2.2",), ""),
        (holding(*TWO), 1, ("192.0.2.2", "192.0.2.1"), ""),
        (holding(*TWO), 1, ("192.0.2.2", "192.0.2.3"),
         "no record is '192.0.2.3', there is 192.0.2.1, 192.0.2.2"),
        (holding(), 1, (), "the answer has no record of the type"),
        (holding(), 1, None, ""),
        (holding(ALIAS), 1, (), "the answer has no record of the type"),
        (holding(ALIAS), 5, ("web.example.com",), ""),
        (holding(ALIAS, *TWO), 1, ("192.0.2.1",), ""),
        (holding(ALIAS, *TWO), 255, ("192.0.2.1", "web.example.com"), ""),
        (holding(), 255, (), "the answer has no record of the type"),
        (holding(record(28, "2001:db8::1")), 28, ("2001:db8::1",), ""),
        (holding(record(16, [b"v=spf1 -all"])), 16, ("v=spf1 -all",), ""),
        (holding(DNSRRMX(rrname="www.example.com.", preference=10, exchange="mail.example.")), 15,
         ("10 mail.example.",), ""),
        (holding(record(65280, b"abc")), 65280, (r"\# 3 616263",), ""),
        (holding(*TWO, cut=3), 1, (), "the answer cannot be read: "),
    ],
)  # fmt: skip
async def test_records_that_are_required(
    answers: Answers, kind: int, wanted: tuple[str, ...] | None, detail: str
) -> None:
    async with serving(answers) as (port, _):
        result = await probed(dns(port, Dns("www.example.com", kind, wanted)))
    assert result.phase is (Phase.BODY if detail else Phase.DONE), result
    assert result.detail.startswith(detail)
    assert bool(result.detail) is bool(detail)


async def test_what_answers_another_question_is_passed_over() -> None:
    def answers(data: bytes) -> Iterable[bytes]:
        (good,) = answering()(data)
        number = int.from_bytes(good[:2])
        wrong = ((number + 1) & 0xFFFF).to_bytes(2) + good[2:3] + bytes((good[3] | 3,)) + good[4:]
        return (b"rubbish", data, *[wrong] * 200, good)

    async with serving(answers) as (port, _):
        assert (await probed(dns(port, Dns("www.example.com", 1)))).ok


@pytest.mark.parametrize("kind", sorted(TYPES.values()))
async def test_the_question_is_what_scapy_reads(kind: int) -> None:
    message = DNS(encode_question(7, "a-b._tcp.example", kind))
    (question,) = message.qd
    assert (message.id, question.qname, question.qtype) == (7, b"a-b._tcp.example.", kind)


async def test_what_is_no_name_and_what_is_no_answer() -> None:
    for name in ("a..b", "." * 3, "a" * 64, ".".join(["abcdefg"] * 32)):
        with pytest.raises(ValueError, match="name"):
            encode_name(name)
    good = bytes(DNS(id=7, qr=1, rcode=5))
    assert answer_code(7, good) == 5
    assert [answer_code(7, good[:end]) for end in range(12)] == [None] * 12
    assert answer_code(7, bytes(DNS(id=7, qr=0))) is None


async def test_no_socket_is_left() -> None:
    with socket.socket() as one:
        before = one.fileno()
    for _ in range(3):
        await probed(udp(free_port(), Udp(), limit=0.1))
    with socket.socket() as one:
        assert one.fileno() == before


@pytest.mark.root
async def test_a_host_that_is_not_there_is_told_before_the_time_is_over() -> None:
    with empty_namespace():
        run("ip link add near0 type veth peer name far0; ip link set near0 up; ip link set far0 up")
        run("ip addr add 192.0.2.1/24 dev near0; ip -6 addr add 2001:db8::1/64 dev near0 nodad")
        for family, name in (("ipv4", "192.0.2.9"), ("ipv6", "2001:db8::9")):
            for what, value in (("mcast_solicit", 1), ("retrans_time_ms", 50)):
                run(f"echo {value} > /proc/sys/net/{family}/neigh/near0/{what}")
            for result in (
                await probed(udp(53, Udp(), host=name)),
                await probed(dns(53, Dns(), host=name)),
            ):
                assert (result.phase, result.detail) == (Phase.STATUS, "no route to host")
                assert result.elapsed < 4


@pytest.mark.root
async def test_a_lack_of_ports_of_our_own_is_not_the_servers_fault() -> None:
    with empty_namespace():
        run("ip link set lo up; echo 50000 50001 > /proc/sys/net/ipv4/ip_local_port_range")
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            with socket.socket(type=socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                port = peer.getsockname()[1]
                results = [await probed(udp(port, Udp())), await probed(dns(port, Dns()))]
    shortage = (Phase.INTERNAL, "no local port is free")
    assert [(result.phase, result.detail) for result in results] == [shortage] * 2
