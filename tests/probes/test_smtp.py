"""SMTP_CHECK against aiosmtpd, and against servers that are none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from support.http_servers import Handler, blackhole, free_port, serving
from support.probing import probed

from lvskeeper.health.spec import CheckKind, CheckSpec, Host, Phase, Smtp, Source
from lvskeeper.probes.attempt import ProbeError
from lvskeeper.probes.smtp import MAX_LINE, MAX_REPLY, SmtpTalk
from lvskeeper.units import parse_address

pytestmark = pytest.mark.asyncio

LOOPBACK = parse_address("127.0.0.1")
GOOD = b"220-one\r\n220 two\r\n", b"250-mail\r\n250 HELP\r\n", b"221 Bye\r\n"


class Post:
    """A handler of the mail server that notes who says HELO."""

    def __init__(self, answer: str = "250 mail") -> None:
        self.answer = answer
        self.seen: list[tuple[str, str]] = []

    async def handle_HELO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str
    ) -> str:
        assert session.peer is not None
        self.seen.append((session.peer[0], hostname))
        session.host_name = hostname
        return self.answer


@asynccontextmanager
async def mail_server(post: Post, host: str = "127.0.0.1") -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(post), host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def check(port: int, *hosts: Host, host: str = "127.0.0.1", limit: float = 5.0) -> CheckSpec:
    return CheckSpec(
        CheckKind.SMTP, parse_address(host), port, connect_timeout=limit,
        smtp=Smtp("lvs1.example", hosts),
    )  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_mail_server_answers(host: str) -> None:
    post = Post()
    async with mail_server(post, host) as port:
        result = await probed(check(port, host=host))
    assert (result.phase, result.detail) == (Phase.DONE, "")
    assert post.seen == [(host, "lvs1.example")]
    assert result.offer is not None


async def test_a_refused_helo_fails() -> None:
    async with mail_server(Post("550 who are you")) as port:
        result = await probed(check(port))
    assert (result.phase, result.detail) == (
        Phase.STATUS, "the answer to HELO is '550 who are you', wanted 250",
    )  # fmt: skip


async def test_all_hosts_are_asked_from_where_they_say() -> None:
    first, second = Post(), Post()
    async with mail_server(first) as one, mail_server(second, "::1") as two:
        hosts = (
            Host(LOOPBACK, one, source=Source(parse_address("127.0.0.5"))),
            Host(parse_address("::1"), two),
        )
        result = await probed(check(1, *hosts))
        assert result.ok
        assert result.offer is not None  # the first is on the real server
        assert (await probed(check(1, hosts[1]))).offer is None
        second.answer = "421 later"
        result = await probed(check(1, *hosts))
    assert result.phase is Phase.STATUS
    assert result.detail == f"[::1]:{two}: the answer to HELO is '421 later', wanted 250"
    assert [peer for peer, _ in first.seen] == ["127.0.0.5"] * 2


def saying(data: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return handle


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "the server closed the connection before the greeting"),
        (b"220 hello\r\n", "the server closed the connection before the answer to HELO"),
        (b"554 no service\r\n", "the greeting is '554 no service', wanted 220"),
        (b"SSH-2.0-x\r\n", "the greeting is not SMTP: 'SSH-2.0-x'"),
        (b"2200 x\r\n", "the greeting is not SMTP: '2200 x'"),
        (b"220" + b"x" * (MAX_LINE + 1), "the greeting is too long"),
        (b"220-x\r\n" * MAX_REPLY, "the greeting is too long"),
    ],
)
async def test_servers_that_misbehave(data: bytes, detail: str) -> None:
    async with serving(saying(data)) as port:
        result = await probed(check(port))
    assert (result.phase, result.detail) == (Phase.STATUS, detail)


async def test_the_end_after_quit_needs_no_word() -> None:
    async with serving(saying(b"220 a\r\n250 b\r\n")) as port:
        assert (await probed(check(port))).ok


async def test_each_phase_has_the_limit() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.read()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with blackhole() as hole:
        async with serving(silent) as one, serving(mute) as two:
            late = replace(check(two), smtp=Smtp(hosts=(Host(LOOPBACK, two, 0.3),)))
            results = await asyncio.gather(
                probed(check(hole, limit=0.3)), probed(check(one, limit=0.3)),
                probed(late),
            )  # fmt: skip
    assert [(result.phase, result.detail) for result in results] == [
        (Phase.TIMEOUT, "timed out after 300 ms while connecting"),
        (Phase.TIMEOUT, "timed out after 300 ms while waiting for the greeting"),
        (
            Phase.TIMEOUT,
            f"127.0.0.1:{two}: timed out after 300 ms while waiting for the answer to HELO",
        ),
    ]
    result = await probed(check(free_port()))
    assert (result.phase, result.detail) == (Phase.CONNECT, "connection refused")


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
async def test_replies_come_whole_and_in_pieces(step: int) -> None:
    talk = SmtpTalk("me")
    said = talk.start()
    for reply in GOOD:
        for at in range(0, len(reply), step):
            said += talk.receive(reply[at : at + step])
    assert talk.done
    assert said == b"HELO me\r\nQUIT\r\n"


async def test_an_end_before_quit_fails_at_each_byte() -> None:
    whole = GOOD[0] + GOOD[1]
    for end in range(len(whole)):
        talk = SmtpTalk("me")
        talk.receive(whole[:end])
        with pytest.raises(ProbeError, match="closed the connection"):
            talk.end()
