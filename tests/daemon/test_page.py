"""The status page in a real browser, where there is one: what it shows, and that it forgets."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.incidents import Incident

from lvskeeper.daemon.questions import AskError, Question, Reply
from lvskeeper.daemon.web import open_web
from lvskeeper.daemon.web_app import serve_web
from lvskeeper.health.spec import Phase
from lvskeeper.observe.views import OverrideView

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no browser (chromium) on this machine"),
]


class Daemon:
    """Answers with an incident, until it is *dead*."""

    def __init__(self) -> None:
        self.dead = False
        self.order: OverrideView | None = None
        self.it = Incident()
        self.it.script("chk", well=True)
        self.it.wait(5)
        for _ in range(3):
            self.it.probe("198.51.100.1:8080", Phase.CONNECT, "connection refused")
            self.it.wait(1)

    def drain(self) -> None:
        """Have the server that is up drained by an operator, for what the page shows."""
        self.order = OverrideView(
            "drain", "draining", 0, 12.0, None, None, 7, None, "", "root", "new kernel"
        )

    async def ask(self, _question: Question, _limit: float, _by: str) -> Reply:
        if self.dead:
            raise AskError("unavailable", "the daemon is about to end")
        seen = await self.it.snapshot()
        if self.order is not None:
            assert seen.director is not None
            (virtual,) = seen.director.virtual_servers
            first, second = virtual.servers
            second = replace(second, override=self.order, serving=False, weight=0)
            virtual = replace(virtual, servers=(first, second))
            director = replace(seen.director, virtual_servers=(virtual,))
            seen = msgspec.structs.replace(seen, director=director)
        return Reply(1, msgspec.Raw(msgspec.json.encode(seen)))


@asynccontextmanager
async def served(daemon: Daemon) -> AsyncIterator[str]:
    listener = open_web("127.0.0.1:0")
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve_web(listener, daemon.ask))
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def browse(url: str, folder: Path, *options: str) -> str:
    """Return the document as it is a while after it was loaded."""
    assert BROWSER is not None
    process = await asyncio.create_subprocess_exec(
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={folder}", "--virtual-time-budget=1500", *options, url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        raise
    return out.decode()


async def test_it_shows_the_states_and_why(tmp_path: Path) -> None:
    async with served(Daemon()) as url:
        shown = await browse(url, tmp_path, "--dump-dom")
    assert '<td class="good">MASTER</td>' in shown
    assert '<td class="bad">DOWN</td>' in shown
    assert "TCP_CHECK 198.51.100.1:8080: connect: connection refused" in shown
    assert "as of " in shown
    assert "NO ANSWER" not in shown


async def test_it_shows_what_an_operator_ordered(tmp_path: Path) -> None:
    daemon = Daemon()
    daemon.drain()
    async with served(daemon) as url:
        shown = await browse(url, tmp_path, "--dump-dom")
    assert "draining, ordered by root 12 s ago (new kernel)" in shown
    assert '<td class="bad">down</td>' in shown  # nobody is left


async def test_a_dead_daemon_has_no_state(tmp_path: Path) -> None:
    daemon = Daemon()
    daemon.dead = True
    async with served(daemon) as url:
        shown = await browse(url, tmp_path, "--dump-dom")
    assert "NO ANSWER: the daemon is about to end. Nothing is known of this director." in shown
    assert "MASTER" not in shown
    assert "state unknown" in shown
