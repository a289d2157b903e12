import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import Message

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from lvskeeper.daemon.mail import MailQueue, alert
from lvskeeper.daemon.roles import MailSpec
from lvskeeper.vrrp.states import State

pytestmark = pytest.mark.asyncio


class Results:
    def __init__(self) -> None:
        self.all: list[tuple[bool, str]] = []
        self._changed = asyncio.Event()

    def __call__(self, ok: bool, detail: str) -> None:
        self.all.append((ok, detail))
        self._changed.set()

    async def wait_for(self, count: int) -> list[tuple[bool, str]]:
        async with asyncio.timeout(20):
            while len(self.all) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.all


class Post:
    """A handler of the mail server that keeps what it gets, and answers as it is told."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.attempts = 0
        self.bad_names: dict[str, str] = {}
        self.answers: list[str] = []
        self.port = 0
        self.helos: list[str | None] = []

    async def handle_RCPT(  # noqa: N802 - the server's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        if address in self.bad_names:
            return self.bad_names[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - see above
        self.attempts += 1
        self.helos.append(session.host_name)
        if self.answers:
            answer = self.answers.pop(0)
            if not answer.startswith("250"):
                return answer
        self.mails.append(envelope)
        return "250 OK"

    def message(self, number: int) -> Message:
        content = self.mails[number].content
        assert isinstance(content, bytes)
        return message_from_bytes(content)

    def spec(
        self, *recipients: str, timeout: float = 5.0, sender: str = "lb@here.test"
    ) -> MailSpec:
        return MailSpec(
            "127.0.0.1",
            self.port,
            "lb1.here.test",
            timeout,
            sender,
            recipients or ("a@there.test",),
        )


@contextlib.asynccontextmanager
async def serve(
    factory: type[asyncio.Protocol] | None = None, post: Post | None = None
) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        factory or (lambda: SMTP(post, hostname="mail.test", loop=loop)), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest_asyncio.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    async with serve(post=made) as made.port:
        yield made


@pytest_asyncio.fixture
async def results() -> Results:
    return Results()


@pytest_asyncio.fixture
async def queue(results: Results) -> AsyncIterator[MailQueue]:
    made = MailQueue(results, slack=1.0, pauses=(0.05, 0.1))
    yield made
    await made.close(0)


class Silent(asyncio.Protocol):
    """A mail server that takes a connection and says nothing."""


class Dripping(asyncio.Protocol):
    """A mail server that speaks so slowly that no single read is ever late."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"2")
            asyncio.get_running_loop().call_later(0.1, self._drip)


class NoGoodbye(SMTP):
    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802 - the server's name
        """Never answer."""


@pytest.mark.parametrize(
    ("kind", "state", "subject", "body"),
    [
        (
            "INSTANCE", State.MASTER, "[lb1] VRRP Instance VI_1 - Entering MASTER state",
            "=> VRRP Instance is now owning VRRP VIPs <=",
        ),
        (
            "INSTANCE", State.BACKUP, "[lb1] VRRP Instance VI_1 - Entering BACKUP state",
            "=> VRRP Instance is no longer owning VRRP VIPs <=",
        ),
        (
            "INSTANCE", State.FAULT, "[lb1] VRRP Instance VI_1 - Entering FAULT state",
            "=> VRRP Instance is no longer owning VRRP VIPs <=",
        ),
        (
            "INSTANCE", State.INIT, "[lb1] VRRP Instance VI_1 - Stopping",
            "=> VRRP Instance stopping <=",
        ),
        (
            "GROUP", State.FAULT, "[lb1] VRRP Group VI_1 - Entering FAULT state",
            "=> All VRRP group instances are now in FAULT state <=",
        ),
        (
            "GROUP", State.INIT, "[lb1] VRRP Group VI_1 - Stopping",
            "=> All VRRP group instances are now stopping <=",
        ),
    ],
)  # fmt: skip
async def test_subjects_and_bodies_are_those_of_keepalived(
    kind: str, state: State, subject: str, body: str
) -> None:
    assert alert("lb1", "GROUP" if kind == "GROUP" else "INSTANCE", "VI_1", state) == (
        subject,
        body,
    )


async def test_a_mail_arrives_with_its_headers(
    post: Post, queue: MailQueue, results: Results
) -> None:
    queue.put(post.spec("a@there.test", "b@there.test"), "[lb1] it\r\nBcc: x@there.test", "=> x <=")
    assert await results.wait_for(1) == [(True, "[lb1] it\r\nBcc: x@there.test")]

    [envelope] = post.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "lb@here.test", ["a@there.test", "b@there.test"],
    )  # fmt: skip
    message = post.message(0)
    assert message["Subject"] == "[lb1] it Bcc: x@there.test"
    assert message["Bcc"] is None
    assert (message["From"], message["To"]) == ("lb@here.test", "a@there.test, b@there.test")
    assert message["Date"]
    assert message["Message-ID"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert str(message.get_payload()).strip() == "=> x <="
    assert post.helos == ["lb1.here.test"]


async def test_mails_keep_their_order_and_go_one_at_a_time(
    post: Post, queue: MailQueue, results: Results
) -> None:
    for number in range(5):
        queue.put(post.spec(), f"mail {number}", "text")
    await results.wait_for(5)
    subjects = [post.message(number)["Subject"] for number in range(5)]
    assert subjects == [f"mail {number}" for number in range(5)]


async def test_a_server_that_is_busy_for_a_while_is_asked_again(
    post: Post, queue: MailQueue, results: Results
) -> None:
    post.answers = ["451 later", "452 later"]
    queue.put(post.spec(), "mail", "text")
    assert await results.wait_for(1) == [(True, "mail")]
    assert (post.attempts, len(post.mails)) == (3, 1)


async def test_after_three_attempts_it_is_given_up_and_the_next_one_is_sent(
    post: Post, queue: MailQueue, results: Results
) -> None:
    post.answers = ["451 later"] * 3
    queue.put(post.spec(), "first", "text")
    queue.put(post.spec(), "second", "text")
    assert await results.wait_for(2) == [
        (False, "first: the server answered 451 later (tried 3 times)"),
        (True, "second"),
    ]


async def test_a_refusal_for_good_is_not_tried_again(
    post: Post, queue: MailQueue, results: Results
) -> None:
    post.answers = ["554 no such thing"]
    queue.put(post.spec(), "mail", "text")
    assert await results.wait_for(1) == [(False, "mail: the server answered 554 no such thing")]
    assert post.attempts == 1


async def test_some_recipients_refused_is_sent_and_all_refused_is_not(
    post: Post, queue: MailQueue, results: Results
) -> None:
    post.bad_names = {"bad@there.test": "550 unknown"}
    queue.put(post.spec("bad@there.test", "a@there.test"), "some", "text")
    queue.put(post.spec("bad@there.test"), "all", "text")
    assert await results.wait_for(2) == [
        (True, "some: recipients refused: bad@there.test: 550 unknown"),
        (False, "all: recipients refused: bad@there.test: 550 unknown"),
    ]
    assert [envelope.rcpt_tos for envelope in post.mails] == [["a@there.test"]]


async def test_nobody_listens(post: Post, queue: MailQueue, results: Results) -> None:
    async with serve(Silent) as port:
        pass
    queue.put(MailSpec("127.0.0.1", port, recipients=("a@there.test",)), "mail", "text")
    assert await results.wait_for(1) == [(False, "mail: Connection refused (tried 3 times)")]
    assert not post.mails


async def test_a_server_that_says_nothing_is_left_after_the_timeout(results: Results) -> None:
    queue = MailQueue(results, slack=5.0, pauses=())
    async with serve(Silent) as port:
        spec = MailSpec("127.0.0.1", port, timeout=1.0, recipients=("a@there.test",))
        queue.put(spec, "mail", "text")
        start = time.monotonic()
        [(ok, detail)] = await results.wait_for(1)
    assert not ok
    assert "timed out" in detail
    assert 0.9 < time.monotonic() - start < 5


async def test_a_child_that_goes_on_beyond_the_deadline_is_killed(results: Results) -> None:
    queue = MailQueue(results, slack=0.3, pauses=())
    async with serve(Dripping) as port:
        spec = MailSpec("127.0.0.1", port, timeout=1.0, recipients=("a@there.test",))
        queue.put(spec, "mail", "text")
        start = time.monotonic()
        assert await results.wait_for(1) == [(False, "mail: not done after 1.3 s")]
    assert 1.2 < time.monotonic() - start < 5


async def test_a_mail_that_is_taken_is_sent_once_though_the_server_hangs_then(
    results: Results, queue: MailQueue
) -> None:
    post = Post()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: NoGoodbye(post, loop=loop), "127.0.0.1", 0)
    post.port = server.sockets[0].getsockname()[1]
    queue.put(post.spec(), "mail", "text")
    assert await results.wait_for(1) == [(True, "mail")]
    assert post.attempts == 1
    server.close()


async def test_the_oldest_are_dropped_and_counted(post: Post, results: Results) -> None:
    queue = MailQueue(results, limit=3, pauses=())
    for number in range(6):
        queue.put(post.spec(), f"mail {number}", "text")
    assert await results.wait_for(3) == [
        (True, "mail 3 (3 dropped unsent)"),
        (True, "mail 4"),
        (True, "mail 5"),
    ]
    await queue.close(1)


async def test_close_sends_what_it_can_and_tells_what_it_drops(
    post: Post, results: Results
) -> None:
    queue = MailQueue(results, slack=20, pauses=())
    async with serve(Silent) as port:
        queue.put(post.spec(), "mail", "text")
        slow = MailSpec("127.0.0.1", port, timeout=20.0, recipients=("a@there.test",))
        queue.put(slow, "slow", "text")
        queue.put(post.spec(), "never", "text")
        start = time.monotonic()
        await queue.close(1.5)
        assert time.monotonic() - start < 5
    assert results.all == [(True, "mail"), (False, "mails were not sent (2 dropped unsent)")]
    queue.put(post.spec(), "too late", "text")
    await queue.close(1)
    assert len(results.all) == 2


async def test_without_a_server_or_recipients_nothing_is_sent(
    queue: MailQueue, results: Results
) -> None:
    queue.put(MailSpec(recipients=("a@there.test",)), "mail", "text")
    queue.put(MailSpec("127.0.0.1", 25), "mail", "text")
    await queue.close(5)
    assert results.all == []


async def test_the_loop_turns_while_a_server_hangs(results: Results) -> None:
    queue = MailQueue(results, slack=0.5, pauses=())
    async with serve(Silent) as port:
        spec = MailSpec("127.0.0.1", port, timeout=1.0, recipients=("a@there.test",))
        queue.put(spec, "mail", "text")
        turns = 0
        while not results.all:
            await asyncio.sleep(0.01)
            turns += 1
    assert turns > 30
