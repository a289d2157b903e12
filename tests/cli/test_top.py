"""The screen of ``lvskeeper top``, driven by its keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.incidents import Incident

pytest.importorskip("textual", reason="textual is an extra: pip install 'lvskeeper[top]'")

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static

from lvskeeper.cli.top_app import TopApp
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.health.spec import Phase
from lvskeeper.observe.diary import EventsView
from lvskeeper.observe.snapshot import Snapshot

pytestmark = pytest.mark.asyncio


class Daemon:
    """Answers with an incident, until it is *dead*."""

    def __init__(self, it: Incident, seen: Snapshot) -> None:
        self.it = it
        self.seen = seen
        self.dead = False
        self.asked: list[str] = []

    def snapshot(self) -> Snapshot:
        if self.dead:
            raise OperatorError("no daemon answers", status=ExitStatus.NO_DAEMON)
        return self.seen

    def get(self, path: str, kind: type[EventsView]) -> EventsView:
        self.asked.append(path)
        entries = () if "after" in path else self.it.diary.newest(50)
        return kind(self.seen.daemon.pid, self.it.diary.last, 0, entries)


async def incident() -> Daemon:
    it = Incident()
    it.script("chk", well=True)
    it.wait(5)
    for _ in range(3):
        it.probe("198.51.100.2:8080", Phase.CONNECT, "connection refused")
        it.wait(1)
    return Daemon(it, await it.snapshot())


@asynccontextmanager
async def driven(daemon: Daemon) -> AsyncIterator[tuple[TopApp, Pilot[None]]]:
    app = TopApp(daemon, 3600)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(app, pilot)
        yield app, pilot


async def settle(app: App[None], pilot: Pilot[None]) -> None:
    """Wait until what was asked is answered and shown."""
    await app.workers.wait_for_complete()
    await pilot.pause()


def rows(app: TopApp, part: str) -> list[list[str]]:
    table = app.query_one(f"#table-{part}", DataTable)
    return [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


def head(app: TopApp) -> str:
    return str(app.query_one("#head", Static).render())


async def test_keys_choose_the_tables_and_what_is_down_comes_first() -> None:
    daemon = await incident()
    async with driven(daemon) as (app, pilot):
        assert rows(app, "vrrp")[0][:2] == ["one", "MASTER"]
        assert "MASTER 1/1, real servers 1/2" in head(app)
        await pilot.press("3")
        await pilot.pause()
        assert [row[0] for row in rows(app, "rs")] == ["198.51.100.2:8080", "198.51.100.1:8080"]
        assert [row[2] for row in rows(app, "rs")] == ["DOWN", "up"]
        await pilot.press("2")
        await pilot.pause()
        assert rows(app, "vs")[0][:2] == ["tcp 192.0.2.100:80", "up"]


async def test_a_line_is_explained_in_the_words_of_explain() -> None:
    async with driven(await incident()) as (app, pilot):
        await pilot.press("3")
        await pilot.pause()
        await pilot.press("e")
        await pilot.pause()
        text = str(app.screen.query_one("#explanation", Static).render())
        assert text.startswith("198.51.100.2:8080 of tcp 192.0.2.100:80 has been down for ")
        assert "HTTP_GET 198.51.100.2:8080 fails: connect: connection refused" in text
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1


async def test_a_daemon_that_dies_has_no_state_until_it_answers_again() -> None:
    daemon = await incident()
    async with driven(daemon) as (app, pilot):
        daemon.dead = True
        app.look()
        await settle(app, pilot)
        assert head(app).startswith("NO ANSWER: no daemon answers; it last answered ")
        assert rows(app, "vrrp") == []
        await pilot.press("e")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        daemon.dead = False
        app.look()
        await settle(app, pilot)
        assert rows(app, "vrrp")[0][:2] == ["one", "MASTER"]


async def test_events_are_asked_for_once_and_then_from_the_last_on() -> None:
    daemon = await incident()
    async with driven(daemon) as (app, pilot):
        app.look()
        await settle(app, pilot)
        last = daemon.it.diary.last
        assert daemon.asked == ["/events?last=50", f"/events?after={last}"]
        shown = "\n".join(line.text for line in app.query_one("#events", RichLog).lines)
        assert "vrrp_state_changed" in shown
        assert shown.count("new=MASTER") == 1


async def test_q_ends_it() -> None:
    async with driven(await incident()) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running
