import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
from support.http_servers import answer, blackhole, free_port, http, nginx, serving
from support.probing import Prober

from lvskeeper.health.spec import HttpVersion, Phase, Url
from lvskeeper.probes.http_answer import MAX_BODY, MAX_HEAD

pytestmark = pytest.mark.asyncio

BODY = b"hello from a real server\n" * 40
MD5 = hashlib.md5(BODY).hexdigest()
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: "


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    root = tmp_path_factory.mktemp("nginx")
    www = root / "www"
    www.mkdir()
    for each in (root, www, *list(root.parents)[:2]):
        each.chmod(0o755)
    (www / "index.html").write_bytes(BODY)
    (www / "empty").touch()
    with (www / "big").open("wb") as big:
        big.truncate(MAX_BODY + 1)
    with (www / "full").open("wb") as full:
        full.truncate(MAX_BODY)
    with nginx(root) as port:
        yield port


@pytest_asyncio.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober()
    yield prober
    await prober.close()


async def body_of(prober: Prober, port: int, url: Url) -> str:
    """Return the MD5 digest that the probe found, by asking for an impossible one."""
    result = await prober.probe(http(port, Url(url.path, url.statuses, "0" * 32, url.virtualhost)))
    assert result.phase is Phase.BODY, result
    return result.detail.split()[1].rstrip(",")


@pytest.mark.parametrize(
    ("url", "phase", "detail"),
    [
        (Url(), Phase.DONE, ""),
        (Url("/", digest=MD5), Phase.DONE, ""),
        (Url("/", digest=MD5.upper()), Phase.DONE, ""),
        (Url("/empty", digest="d41d8cd98f00b204e9800998ecf8427e"), Phase.DONE, ""),
        (Url("/", digest="0" * 32), Phase.BODY, f"digest {MD5}, wanted {'0' * 32}"),
        (Url("/none"), Phase.STATUS, "status 404, wanted 200-299"),
        (Url("/none", ((404, 404),)), Phase.DONE, ""),
        (Url("/busy", ((200, 200), (301, 399))), Phase.STATUS, "status 503, wanted 200, 301-399"),
        (Url("/busy", ((200, 200), (500, 599))), Phase.DONE, ""),
        # a redirect is an answer like any other
        (Url("/moved"), Phase.STATUS, "status 302, wanted 200-299"),
        (Url("/moved", ((302, 302),)), Phase.DONE, ""),
        (Url("/big"), Phase.DONE, ""),
        (Url("/big", digest=MD5), Phase.BODY,
         f"body is longer than {MAX_BODY} bytes, no digest is made"),
        (Url("/full", digest=hashlib.md5(bytes(MAX_BODY)).hexdigest()), Phase.DONE, ""),
    ],
)  # fmt: skip
async def test_nginx(web: int, prober: Prober, url: Url, phase: Phase, detail: str) -> None:
    result = await prober.probe(http(web, url))
    assert (result.phase, result.detail) == (phase, detail)
    assert result.elapsed > 0


async def test_no_url_means_the_root(web: int, prober: Prober) -> None:
    assert (await prober.probe(http(web))).ok


async def test_ipv6(web: int, prober: Prober) -> None:
    assert (await prober.probe(http(web, Url(digest=MD5), host="::1"))).ok


@pytest.mark.parametrize(
    ("version", "seen"),
    [
        (HttpVersion.V10, ("", "HTTP/1.0")),
        (HttpVersion.V10C, ("close", "HTTP/1.0")),
        (HttpVersion.V11, ("close", "HTTP/1.1")),
    ],
)
@pytest.mark.parametrize("virtualhost", ["", "www.example.com"])
async def test_what_the_server_sees(
    web: int, prober: Prober, virtualhost: str, version: HttpVersion, seen: tuple[str, str]
) -> None:
    host = virtualhost or f"127.0.0.1:{web}"
    expected = f"lvskeeper,{host},,{seen[0]},a=%20b&c,{seen[1]}"
    md5 = hashlib.md5(expected.encode()).hexdigest()
    url = Url("/agent?a=%20b&c", digest=md5, virtualhost=virtualhost)
    result = await prober.probe(replace(http(web, url), http_version=version))
    assert result.ok, result


async def test_cookies_do_not_stick(web: int, prober: Prober) -> None:
    for _ in range(2):
        url = Url("/cookie")
        assert await body_of(prober, web, url) == hashlib.md5(b"").hexdigest()


async def test_proxies_of_the_environment_are_ignored(
    web: int, prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert (await prober.probe(http(web, Url()))).ok


async def test_all_urls_in_order_and_the_first_failure_ends_it(
    prober: Prober,
) -> None:
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1]
        asked.append(path)
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (200 if path != b"/b" else 500)
        )
        await writer.drain()

    async with serving(handle) as port:
        assert (await prober.probe(http(port, Url("/a"), Url("/c")))).ok
        result = await prober.probe(http(port, Url("/a"), Url("/b"), Url("/c")))
    assert (result.phase, result.detail) == (Phase.STATUS, "/b: status 500, wanted 200-299")
    assert asked == [b"/a", b"/c", b"/a", b"/b"]


@pytest.mark.parametrize(
    ("data", "phase", "detail"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nold but good", Phase.DONE, ""),
        (b"", Phase.STATUS, "the server closed the connection without an answer"),
        (b"220 smtp here\r\n\r\n", Phase.STATUS, "no HTTP answer: '220 smtp here'"),
        (bytes(range(256)), Phase.STATUS, "no HTTP answer: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD, Phase.STATUS, "no HTTP answer: more than"),
        (b"HTTP/1.1 200 OK\r\nX: y", Phase.STATUS, "no HTTP answer: the headers broke off"),
        (LENGTH + b"10\r\n\r\nshort", Phase.BODY, "the body broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Phase.BODY,
         "the body broke off"),
    ],
)  # fmt: skip
async def test_servers_that_misbehave(
    prober: Prober, data: bytes, phase: Phase, detail: str
) -> None:
    async with serving(answer(data)) as port:
        result = await prober.probe(http(port, Url()))
    assert result.phase is phase, result
    assert result.detail.startswith(detail)
    assert "\n" not in result.detail
    assert len(result.detail) < 120


async def test_refused(prober: Prober) -> None:
    result = await prober.probe(http(free_port(), Url()))
    assert (result.phase, result.detail) == (Phase.CONNECT, "connection refused")


async def test_reset_after_the_request(prober: Prober) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with serving(handle) as port:
        result = await prober.probe(http(port, Url()))
    assert result.phase is Phase.STATUS
    assert result.detail


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(LENGTH + b"1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def test_slow_servers_are_given_the_limit_and_no_more(prober: Prober) -> None:
    with blackhole() as hole:
        async with serving(answer(b"", after=5)) as mute, serving(trickle) as slow:
            results = await asyncio.gather(
                *(prober.probe(http(port, Url(), limit=0.5)) for port in (hole, mute, slow))
            )
    assert [r.detail for r in results] == [
        "timed out after 500 ms while connecting",
        "timed out after 500 ms while waiting for the answer",
        "timed out after 500 ms while reading the body",
    ]
    assert all(r.phase is Phase.TIMEOUT and 0.5 <= r.elapsed < 3 for r in results)


async def test_every_request_has_its_own_connection(prober: Prober) -> None:
    peers: set[tuple[str, int]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        while True:  # a server that would keep the connection
            await reader.readuntil(b"\r\n\r\n")
            writer.write(LENGTH + b"0\r\nConnection: keep-alive\r\n\r\n")
            await writer.drain()

    async with serving(handle) as port:
        for _ in range(3):
            assert (await prober.probe(http(port, Url("/a"), Url("/b")))).ok
    assert len(peers) == 6


@pytest.mark.parametrize(
    "head",
    [
        b"Set-Cookie: " + b"x" * 20_000 + b"\r\n",
        b"".join(b"X-%d: y\r\n" % number for number in range(300)),
    ],
    ids=["a long header", "many headers"],
)
async def test_headers_of_any_size_are_good_answers(prober: Prober, head: bytes) -> None:
    async with serving(answer(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nhello")) as port:
        assert (await prober.probe(http(port))).ok
