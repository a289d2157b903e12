import asyncio
import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.http_servers import answer, blackhole, free_port, serving, tcp
from support.probing import Prober, probed

from lvskeeper.health.spec import Phase
from lvskeeper.probes.attempt import describe_os_error, os_error_phase

pytestmark = pytest.mark.asyncio


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_listener_is_well() -> None:
    async with serving(answer(b"")) as port:
        result = await probed(tcp(port))
    assert result.ok
    assert result.detail == ""
    assert 0 < result.elapsed < 3


async def test_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert (await probed(tcp(server.getsockname()[1], host="::1"))).ok


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_refused(host: str) -> None:
    result = await probed(tcp(free_port(), host=host))
    assert (result.phase, result.detail) == (Phase.CONNECT, "connection refused")


async def test_blackhole_times_out() -> None:
    with blackhole() as port:
        result = await probed(tcp(port, limit=0.2))
    assert result.phase is Phase.TIMEOUT
    assert result.detail == "timed out after 200 ms while connecting"
    assert 0.2 <= result.elapsed < 3


async def test_no_file_descriptor_is_left_behind() -> None:
    before = open_files()
    with blackhole() as hole:
        async with serving(answer(b"")) as port:
            inside = open_files()
            await asyncio.gather(
                *(probed(tcp(p, limit=0.1)) for p in [hole, port, free_port()] * 5)
            )
            late = asyncio.create_task(probed(tcp(hole)))
            await asyncio.sleep(0.05)
            late.cancel()
            await asyncio.wait((late,))
            assert late.cancelled()
            await asyncio.sleep(0.05)
            assert open_files() == inside
    assert open_files() == before


@contextmanager
def no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_own_shortage_is_not_the_servers_fault() -> None:
    prober = Prober()
    with no_more_files():
        result = await prober.probe(tcp(80))
    await prober.close()
    assert (result.phase, result.detail) == (Phase.INTERNAL, "too many open files")


async def test_closes_without_a_reset() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        try:
            got.set_result(await reader.read())
        except ConnectionError as error:
            got.set_exception(error)

    async with serving(handle) as port:
        assert (await probed(tcp(port))).ok
        assert await asyncio.wait_for(got, 2) == b""


@pytest.mark.parametrize(
    ("number", "words", "phase"),
    [
        (errno.EHOSTUNREACH, "no route to host", Phase.CONNECT),
        (errno.ENETUNREACH, "network unreachable", Phase.CONNECT),
        (errno.EACCES, "permission denied", Phase.CONNECT),
        (errno.EMFILE, "too many open files", Phase.INTERNAL),
        (
            errno.EADDRNOTAVAIL,
            "no local address or port to connect from",
            Phase.INTERNAL,
        ),
    ],
)
async def test_words_for_errors(number: int, words: str, phase: Phase) -> None:
    error = OSError(number, "")
    assert (describe_os_error(error), os_error_phase(error, Phase.CONNECT)) == (words, phase)


@pytest.mark.root
async def test_no_route_in_an_empty_namespace() -> None:
    code = (
        "import asyncio; from support.probing import probed;"
        "from support.http_servers import tcp;"
        "print(asyncio.run(probed(tcp(80, host='192.0.2.1'))).detail)"
    )
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", sys.executable, "-c", code),
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert output.strip() == b"network unreachable"
