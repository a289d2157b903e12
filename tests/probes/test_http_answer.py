"""The machine of an HTTP answer, and regexes: fed whole, byte by byte, cut at each byte."""

import asyncio
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http_servers import answer, http, serving
from support.probing import Prober
from support.waiting import until

from lvskeeper.health.pcre import PcreError, compiled
from lvskeeper.health.spec import HttpVersion, Phase, Regex, Url
from lvskeeper.probes.attempt import ProbeError
from lvskeeper.probes.http_answer import MAX_SEARCHED, HttpTalk

BODY = b"a body\r\n\r\nwith lines"
MD5 = hashlib.md5(BODY).hexdigest()
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b'6\r\na body\r\ne;x="y"\r\n\r\n\r\nwith lines\r\n0\r\nTrailer: x\r\n\r\n'
GOOD = {
    "until the end": OK + b"\r\n" + BODY,
    "bare line feeds": b"HTTP/1.0 200\nX: y\n\n" + BODY,
    "length": OK + b"Content-Length: 20\r\ncontent-length:20\r\n\r\n" + BODY,
    "what follows": OK + b"Content-Length: 20\r\n\r\n" + BODY + b"HTTP/1.1 500 Oops\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n\r\n" + CHUNKS,
    "interim": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 20\r\n\r\n" + BODY,
}


def fed(data: bytes, step: int, url: Url | None = None) -> HttpTalk:
    talk = HttpTalk(url or Url(digest=MD5), "h", HttpVersion.V10)
    for at in range(0, len(data), step):
        if not talk.done:
            assert talk.receive(data[at : at + step]) == b""
    if not talk.done:
        talk.end()
    return talk


@pytest.mark.parametrize("name", GOOD)
def test_good_answers_whole_and_in_pieces(name: str) -> None:
    for step in (1, 2, 7, 10_000):
        assert fed(GOOD[name], step).done


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_that_breaks_off_anywhere_fails(name: str) -> None:
    if name == "what follows":
        return
    for end in range(len(GOOD[name])):
        with pytest.raises(ProbeError) as caught:
            fed(GOOD[name][:end], 3)
        assert caught.value.phase in {Phase.STATUS, Phase.BODY}


@pytest.mark.parametrize(
    ("data", "phase", "detail"),
    [
        (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Phase.STATUS,
         "no HTTP answer: Content-Length is not one number"),
        (OK + b"Content-Length: -3\r\n\r\nabcd", Phase.STATUS,
         "no HTTP answer: Content-Length is not one number"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", Phase.BODY,
         "the body is in chunks, and 'xyz' is no size of one"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", Phase.BODY,
         "the body is in chunks, and one is too long"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000, Phase.BODY,
         "the body is in chunks, and a line of them too long"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 80_000, Phase.BODY,
         "the trailers of the body are too long"),
        (b"HTTP/1.1 1\r\n", Phase.STATUS, "no HTTP answer: 'HTTP/1.1 1'"),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 20_000, Phase.STATUS,
         "no HTTP answer: more than 262144 bytes of headers"),
    ],
)  # fmt: skip
def test_bad_answers(data: bytes, phase: Phase, detail: str) -> None:
    with pytest.raises(ProbeError) as caught:
        fed(data, 4096)
    assert (caught.value.phase, caught.value.detail) == (phase, detail)


@pytest.mark.parametrize("status", [204, 304, 101])
def test_answers_without_a_body_end_with_their_headers(status: int) -> None:
    url = Url(statuses=((100, 399),))
    talk = HttpTalk(url, "h", HttpVersion.V11)
    talk.receive(b"HTTP/1.1 %d X\r\nContent-Length: 9\r\n\r\n" % status)
    assert talk.done


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_no_answer_breaks_the_machine(parts: list[bytes]) -> None:
    for start in (b"", OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"):
        talk = HttpTalk(Url(), "h", HttpVersion.V10)
        failure = None
        try:
            for part in (start, *parts):
                if not talk.done:
                    talk.receive(part)
            if not talk.done:
                talk.end()
        except ProbeError as error:
            failure = error.detail
        assert talk.done if failure is None else failure.isprintable()


async def asked(data: bytes, regex: Regex, limit: float = 5.0) -> tuple[Phase, str]:
    prober = Prober()
    async with serving(answer(b"HTTP/1.0 200 OK\r\n\r\n" + data)) as port:
        result = await prober.probe(http(port, Url(regex=regex), limit=limit))
    await prober.close()
    return result.phase, result.detail


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("regex", "detail"),
    [
        (Regex("hel+o"), ""),
        (Regex("HELLO"), "the body does not match the regex 'HELLO'"),
        (Regex("HELLO", ("caseless",)), ""),
        (Regex("^world"), "the body does not match the regex '^world'"),
        (Regex("^world", ("multiline",)), ""),
        (Regex("hello", forbidden=True), "the body matches the regex 'hello'"),
        (Regex("bye", forbidden=True), ""),
        (Regex("hello", first=1), "the body does not match the regex 'hello'"),
        (Regex("world", first=6), ""),
        (Regex("world", last=5), "the body does not match the regex 'world'"),
        (Regex("world", last=6), ""),
        (Regex("w(?<rest>.*)$", ("utf", "dotall")), ""),
        (Regex("x", first=500), "the body does not match the regex 'x'"),
    ],
)
async def test_regexes(regex: Regex, detail: str) -> None:
    found = await asked(b"hello\nworld", regex)
    assert found == (Phase.BODY if detail else Phase.DONE, detail)


@pytest.mark.asyncio
async def test_a_match_may_lie_anywhere_in_what_is_searched() -> None:
    body = b"x" * (MAX_SEARCHED - 4) + b"need" + b"le"
    assert (await asked(body, Regex("need")))[0] is Phase.DONE
    assert (await asked(body, Regex("needle")))[0] is Phase.BODY
    text = ("é" * 5000 + "à").encode()
    assert (await asked(text, Regex("à", ("utf",), first=1)))[0] is Phase.DONE
    found = await asked(b"\xff", Regex("x", ("utf",)))
    assert found[1].startswith("the regex cannot tell: UTF-8 error")


@pytest.mark.asyncio
async def test_a_regex_that_takes_for_ever_does_not_hold_up_the_loop() -> None:
    hard = Regex("(a|a)*$(?<!a)", first=0)
    late = []

    async def look() -> None:
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.005)
            late.append(time.monotonic() - start)

    looking = asyncio.create_task(look())
    found = await asked(b"a" * 400_000, hard, limit=0.3)
    looking.cancel()
    assert found in {
        (Phase.TIMEOUT, "timed out after 300 ms while searching the body"),
        (Phase.BODY, "the regex cannot tell: match limit exceeded"),
    }
    assert sorted(late)[len(late) // 2] < 0.1


@pytest.mark.asyncio
async def test_who_waits_for_the_searches_of_others_is_not_failed_by_them() -> None:
    hard = Regex("(?:a|a)*[bc]", ("no_start_optimize", "no_auto_possess"))  # a minute long
    prober = Prober()
    lines = answer(b"HTTP/1.0 200 OK\r\n\r\n" + (b"a" * 12 + b"\n") * 50_000)
    easy = answer(b"HTTP/1.0 200 OK\r\n\r\nhello")
    async with serving(lines) as one, serving(easy) as other:
        hogs = [
            asyncio.create_task(prober.probe(http(one, Url(regex=hard), limit=20)))
            for _ in range(2)
        ]
        flows = prober._runner._running
        await until(
            lambda: (
                [getattr(flow, "doing", "") for flow in flows.values()]
                == ["searching the body"] * 2
            )
        )
        result = await prober.probe(http(other, Url(regex=Regex("hello")), limit=0.2))
        still = not any(hog.done() for hog in hogs)
        for hog in hogs:
            hog.cancel()
        await asyncio.wait(hogs)
    await prober.close()
    assert still
    assert result.phase is Phase.INTERNAL
    assert result.detail == "waiting for others' searches takes too long"


def test_patterns_that_are_wrong() -> None:
    with pytest.raises(PcreError, match=r"missing closing parenthesis \(at offset 1\)"):
        compiled("(", ())
