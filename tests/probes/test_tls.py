"""SSL_GET against nginx with TLS, and against servers that are none."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from support.http_servers import (
    answer,
    blackhole,
    certificates,
    free_port,
    nginx,
    serving,
)
from support.probing import Prober

from lvskeeper.health.spec import CheckKind, CheckSpec, HttpVersion, Phase, Tls, Url
from lvskeeper.units import parse_address

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nginx")
    for each in (root, *list(root.parents)[:2]):
        each.chmod(0o755)
    certificates(root)
    return root


@pytest.fixture(scope="module")
def web(pem: Path) -> Iterator[int]:
    (pem / "www").mkdir()
    (pem / "www" / "index.html").write_text("hello")
    port = free_port()
    with nginx(pem, tls_port=port):
        yield port


@pytest_asyncio.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober()
    yield prober
    await prober.close()


def check(
    port: int, tls: Tls, *urls: Url, host: str = "127.0.0.1", limit: float = 5.0
) -> CheckSpec:
    return CheckSpec(
        CheckKind.SSL, parse_address(host), port, connect_timeout=limit, urls=urls, tls=tls
    )


def saying(path: str, text: str, *, host: str = "", sni: str = "") -> Url:
    md5 = hashlib.md5(text.encode()).hexdigest()
    return Url(path, digest=md5, virtualhost=host, sni=sni)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_nginx(web: int, prober: Prober, host: str) -> None:
    result = await prober.probe(check(web, Tls(), saying("/", "hello"), host=host))
    assert (result.phase, result.detail) == (Phase.DONE, "")
    assert result.offer is not None


async def test_the_server_is_told_the_name_that_is_asked_for(web: int, prober: Prober) -> None:
    urls = (
        saying("/name", f",127.0.0.1:{web},HTTP/1.0"),
        saying("/name", ",www.example.com,HTTP/1.0", host="www.example.com"),
        saying("/name", "a.example,www.example.com,HTTP/1.0", host="www.example.com",
               sni="a.example"),
    )  # fmt: skip
    result = await prober.probe(check(web, Tls(), *urls))
    assert result.ok, result


@pytest.mark.parametrize(
    ("ca", "asked", "detail"),
    [
        ("ca.pem", ("127.0.0.1", ""), ""),
        ("ca.pem", ("127.0.0.1", "www.example.com"), ""),
        ("ca.pem", ("::1", "www.example.com"), ""),
        ("ca.pem", ("127.0.0.1", "other.example"), "Hostname mismatch, certificate is not valid"),
        ("ca.pem", ("::1", ""), "IP address mismatch, certificate is not valid for '::1'"),
        ("client.pem", ("127.0.0.1", ""), "unable to get local issuer certificate"),
        ("", ("127.0.0.1", ""), "unable to get local issuer certificate"),
    ],
)
async def test_certificates_are_verified_when_asked(
    web: int, pem: Path, ca: str, asked: tuple[str, str], detail: str
) -> None:
    host, sni = asked
    prober = Prober()
    tls = Tls(verify=True, ca=str(pem / ca) if ca else "")
    result = await prober.probe(check(web, tls, Url("/", sni=sni), host=host))
    if not detail:
        assert result.ok, result
    else:
        assert result.phase is Phase.TLS
        assert result.detail.startswith(f"the certificate is not accepted: {detail}")


async def test_a_certificate_of_our_own_is_shown(web: int, prober: Prober, pem: Path) -> None:
    both = pem / "both.pem"
    both.write_text((pem / "client.pem").read_text() + (pem / "client.key").read_text())
    shown = saying("/client", "CN=client")
    for tls in (
        Tls(certificate=str(pem / "client.pem"), key=str(pem / "client.key")),
        Tls(certificate=str(both)),
    ):
        result = await prober.probe(check(web, tls, shown))
        assert result.ok, result
    assert (await prober.probe(check(web, Tls(), saying("/client", "")))).ok


async def test_files_that_are_no_good_are_not_the_servers_fault(
    web: int, prober: Prober, pem: Path, tmp_path: Path
) -> None:
    rubbish, locked = tmp_path / "rubbish", tmp_path / "locked.key"
    rubbish.write_text("rubbish")
    process = await asyncio.create_subprocess_exec(
        *("openssl", "pkey", "-aes256", "-passout", "pass:x", "-in", str(pem / "client.key")),
        *("-out", str(locked)),
    )
    assert await process.wait() == 0
    mine = str(pem / "client.pem")
    for tls, detail in (
        (Tls(verify=True, ca="/nowhere"), "ca /nowhere: no such file or directory"),
        (Tls(verify=True, ca=str(rubbish)), f"ca {rubbish}: no certificate or crl found"),
        (Tls(certificate=mine, key="/nowhere"), "key /nowhere: no such file or directory"),
        (Tls(certificate="/nowhere"), "certificate /nowhere: no such file or directory"),
        (Tls(certificate=mine, key=str(pem / "ca.key")),
         f"key {pem / 'ca.key'}: key values mismatch"),
        (Tls(certificate=mine, key=str(locked)),
         f"key {locked}: it needs a password"),
    ):  # fmt: skip
        result = await prober.probe(check(web, tls))
        assert (result.phase, result.detail) == (Phase.INTERNAL, detail)


async def test_a_password_opens_the_key(
    web: int, prober: Prober, pem: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    process = await asyncio.create_subprocess_exec(
        *("openssl", "pkey", "-aes256", "-passout", "pass:x", "-in", str(pem / "client.key")),
        *("-out", str(locked)),
    )
    assert await process.wait() == 0
    tls = Tls(certificate=str(pem / "client.pem"), key=str(locked), password="x")
    assert (await prober.probe(check(web, tls, saying("/client", "CN=client")))).ok
    result = await prober.probe(check(web, replace(tls, password="y")))
    assert result.phase is Phase.INTERNAL
    assert result.detail == f"key {locked}: pem lib; the password may be wrong"


async def test_renewed_files_are_read_after_a_reload(
    web: int, prober: Prober, pem: Path, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    spec = check(web, Tls(verify=True, ca=str(ca)))
    assert (await prober.probe(spec)).phase is Phase.INTERNAL
    ca.write_bytes((pem / "ca.pem").read_bytes())
    assert (await prober.probe(spec)).ok
    ca.unlink()
    assert (await prober.probe(spec)).ok
    prober.forget_files()
    assert (await prober.probe(spec)).phase is Phase.INTERNAL


async def test_the_lowest_version_holds(web: int, prober: Prober) -> None:
    assert (await prober.probe(check(web, Tls(minimum="1.2")))).ok
    result = await prober.probe(check(web, Tls(minimum="1.3")))
    assert (result.phase, result.detail) == (Phase.TLS, "tlsv1 alert protocol version")


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_servers_that_do_not_speak_tls(prober: Prober) -> None:
    async def closing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    found = []
    for handler in (closing, resetting, plain):
        async with serving(handler) as port:
            result = await prober.probe(check(port, Tls()))
            found.append((result.phase, result.detail))
    assert found == [
        (Phase.TLS, "the server closed the connection in the handshake"),
        (Phase.TLS, "connection reset"),
        (Phase.TLS, "wrong version number"),
    ]


async def test_each_phase_has_the_limit(prober: Prober) -> None:
    with blackhole() as hole:
        async with serving(silent) as mute:
            results = await asyncio.gather(
                *(prober.probe(check(port, Tls(), limit=0.3)) for port in (hole, mute))
            )
    assert [(one.phase, one.detail) for one in results] == [
        (Phase.TIMEOUT, "timed out after 300 ms while connecting"),
        (Phase.TIMEOUT, "timed out after 300 ms while making the TLS connection"),
    ]
    result = await prober.probe(check(free_port(), Tls()))
    assert (result.phase, result.detail) == (Phase.CONNECT, "connection refused")


@pytest.mark.parametrize("strict", [False, True])
async def test_an_answer_that_is_cut_is_found_with_tls_compliant(
    prober: Prober, pem: Path, strict: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem / "server.pem", pem / "server.key")

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await writer.drain()
        writer.get_extra_info("socket").shutdown(1)
        await reader.read()

    server = await asyncio.start_server(cut, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await prober.probe(check(port, Tls(strict_close=strict), saying("/", "hello")))
    expected = (
        (Phase.BODY, "the connection ended without the end of TLS (close_notify)")
        if strict
        else (Phase.DONE, "")
    )
    assert (result.phase, result.detail) == expected


async def test_a_proper_end_will_do_with_tls_compliant(web: int, prober: Prober) -> None:
    assert (await prober.probe(check(web, Tls(strict_close=True), saying("/", "hello")))).ok
    spec = check(web, Tls(), Url("/none"))
    result = await prober.probe(spec)
    assert (result.phase, result.detail) == (Phase.STATUS, "status 404, wanted 200-299")


async def test_1_1_over_tls(web: int, prober: Prober) -> None:
    url = saying("/name", "a,a,HTTP/1.1", host="a", sni="a")
    spec = CheckSpec(
        CheckKind.SSL, parse_address("127.0.0.1"), web, urls=(url,), tls=Tls(),
        http_version=HttpVersion.V11,
    )  # fmt: skip
    assert (await prober.probe(spec)).ok


async def test_a_plain_answer_in_place_of_http(prober: Prober) -> None:
    async with serving(answer(b"* OK\r\n\r\n")) as port:
        spec = CheckSpec(CheckKind.HTTP, parse_address("127.0.0.1"), port)
        assert (await prober.probe(spec)).detail == "no HTTP answer: '* OK'"


@pytest.mark.parametrize("verify", [False, True])
async def test_the_end_of_the_certificate_is_found_where_it_is_wanted(
    web: int, prober: Prober, pem: Path, verify: bool
) -> None:
    tls = Tls(verify=verify, ca=str(pem / "ca.pem") if verify else "", expiry=30)
    result = await prober.probe(check(web, tls))
    assert result.ok
    assert result.expires is not None
    assert 1.9 * 86_400 < result.expires - time.time() < 2.1 * 86_400
    assert (await prober.probe(check(web, replace(tls, expiry=0)))).expires is None


async def test_of_the_certificates_of_several_urls_the_one_that_ends_first_counts(
    prober: Prober, pem: Path
) -> None:
    def context(name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(pem / f"{name}.pem", pem / f"{name}.key")
        return made

    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "90", "-subj", "/CN=new", "-keyout", "new.key", "-out", "new.pem"),
        cwd=pem,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    usual, new = context("server"), context("new")

    def choose(sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name == "new":
            sock.context = new

    usual.sni_callback = choose
    handle = answer(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=usual)
    async with server:
        port = server.sockets[0].getsockname()[1]
        urls = [Url("/", sni=name) for name in ("new", "old", "new")]
        tls = Tls(expiry=30)
        days = [
            ((await prober.probe(check(port, tls, *some))).expires or 0) - time.time()
            for some in (urls, urls[:1])
        ]
    assert [round(one / 86_400) for one in days] == [2, 90]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("minimum", ["1.0", "1.1", ""])
async def test_an_old_version_that_is_asked_for_will_do_where_the_certificate_is_verified(
    prober: Prober, pem: Path, minimum: str
) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(pem / "server.pem", pem / "server.key")
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    handle = answer(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=old)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for ca, phase in (("ca", Phase.DONE), ("client", Phase.TLS)):
            tls = Tls(verify=True, ca=str(pem / f"{ca}.pem"), minimum=minimum)
            result = await prober.probe(check(port, tls))
            assert result.phase is (phase if minimum else Phase.TLS), result


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_of_ours_refuses_in_tls(
    prober: Prober, pem: Path, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem / "server.pem", pem / "server.key")
    context.load_verify_locations(pem / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with plain, contextlib.suppress(ssl.SSLError):
                context.wrap_socket(plain, server_side=True)

        serving_one = asyncio.create_task(asyncio.to_thread(serve))
        result = await prober.probe(check(listener.getsockname()[1], Tls()))
        await serving_one
    assert result.phase is Phase.TLS
    assert "alert" in result.detail
