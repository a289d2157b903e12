"""The screen of ``lvskeeper top``, with textual."""

import time
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol, final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, RichLog, Static, TabbedContent, TabPane

from lvskeeper.cli.events import line_of
from lvskeeper.cli.explain import explanations
from lvskeeper.errors import OperatorError
from lvskeeper.observe.diary import EventsView
from lvskeeper.observe.snapshot import Snapshot
from lvskeeper.observe.status import SECTIONS, render_daemon, summary

TITLES: Final = {
    "vrrp": "VRRP", "vs": "Virtual servers", "rs": "Real servers", "checks": "Checks",
    "drains": "Overrides", "lips": "Local addresses", "sync": "State sync",
}  # fmt: skip
KINDS: Final = {"vrrp": "instance", "vs": "vs", "rs": "rs"}
"""Tables whose lines can be explained, and what ``explain`` calls these."""
MAX_ROWS: Final = 500
"""Lines of a table; those that are not well come first."""
EVENTS: Final = 200
"""Events that are kept on the screen."""

_STYLES: Final = {
    "MASTER": "green", "up": "green", "roomy": "green", "BACKUP": "cyan", "idle": "cyan",
    "FAULT": "bold red", "DOWN": "bold red", "exhausted": "bold red", "INIT": "yellow",
    "WEAK": "yellow", "SORRY": "yellow", "nearly full": "yellow",
}  # fmt: skip


class Daemon(Protocol):
    """Who answers: a client of the control socket."""

    def snapshot(self) -> Snapshot:
        """Return how the daemon is; raise :class:`OperatorError`."""

    def get(self, path: str, kind: type[EventsView]) -> EventsView:
        """Return what is at *path*; raise :class:`OperatorError`."""


@final
class ExplainScreen(ModalScreen[None]):
    """The chain of reasons of one line."""

    CSS = """
    ExplainScreen { align: center middle; }
    ExplainScreen VerticalScroll {
        width: 90%; height: auto; max-height: 80%; border: round $accent; padding: 1 2;
        background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,e,q,enter", "dismiss", "Close"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the text."""
        with VerticalScroll():
            yield Static(self._text, id="explanation", markup=False)


@final
class TopApp(App[None]):
    """Looks every *period* seconds."""

    TITLE = "lvskeeper top"

    CSS = """
    #head { padding: 0 1; height: auto; }
    #head.gone { background: $error; color: $text; }
    TabbedContent { height: 1fr; }
    DataTable { height: 1fr; }
    #events { height: 8; border-top: solid $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("e", "explain", "Explain"),
        *(
            Binding(str(number), f"choose('{part}')", title)
            for number, (part, title) in enumerate(TITLES.items(), 1)
        ),
    ]

    def __init__(self, daemon: Daemon, period: float) -> None:
        super().__init__()
        self._daemon = daemon
        self._period = period
        self._snapshot: Snapshot | None = None
        self._answered: float | None = None
        self._last = (0, 0)
        """Process and number of the last event that is shown."""

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Static("asking ...", id="head", markup=False)
        with TabbedContent(initial="vrrp"):
            for part, title in TITLES.items():
                with TabPane(title, id=part):
                    yield DataTable[Text](id=f"table-{part}", cursor_type="row")
        yield RichLog(id="events", max_lines=EVENTS, markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.set_interval(self._period, self.look)
        self.look()

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the table that is seen now."""
        self._fill()

    @work(thread=True, exclusive=True)
    def look(self) -> None:
        """Ask the daemon, beside the screen."""
        try:
            snapshot = self._daemon.snapshot()
            pid, last = self._last
            path = f"/events?after={last}" if pid == snapshot.daemon.pid else "/events?last=50"
            told = self._daemon.get(path, EventsView)
        except OperatorError as error:
            self.call_from_thread(self.forget, error.message)
        else:
            self.call_from_thread(self.show, snapshot, told)

    def show(self, snapshot: Snapshot, told: EventsView) -> None:
        """Show what was answered."""
        self._snapshot, self._answered = snapshot, time.monotonic()
        head = self.query_one("#head", Static)
        head.remove_class("gone")
        head.update(f"{summary(snapshot)}\n{render_daemon(snapshot, time.monotonic()).rstrip()}")
        log = self.query_one("#events", RichLog)
        for entry in told.entries:
            log.write(line_of(entry))
        self._last = (told.pid, told.last)
        self._fill()

    def forget(self, why: str) -> None:
        """Show that nothing is known."""
        ago = ""
        if self._answered is not None:
            ago = f"; it last answered {time.monotonic() - self._answered:.0f} s ago"
        self._snapshot = None
        head = self.query_one("#head", Static)
        head.add_class("gone")
        head.update(f"NO ANSWER: {why}{ago}")
        for part in TITLES:
            self._table(part).clear()

    def action_choose(self, part: str) -> None:
        """Show another table."""
        self.query_one(TabbedContent).active = part

    async def action_explain(self) -> None:
        """Explain the line under the cursor."""
        part = self.query_one(TabbedContent).active
        table, kind = self._table(part), KINDS.get(part)
        if self._snapshot is None or kind is None or not table.row_count:
            return
        row = [cell.plain for cell in table.get_row_at(table.cursor_row)]
        found = list(explanations(self._snapshot, kind, row[0], time.monotonic()))
        if kind == "rs":
            found = [text for text in found if text.startswith(f"{row[0]} of {row[1]} ")] or found
        if found:
            await self.push_screen(ExplainScreen("\n".join(found)))

    def _table(self, part: str) -> DataTable[Text]:
        return self.query_one(f"#table-{part}", DataTable)

    def _fill(self) -> None:
        """Fill the table that is seen; the cursor stays on its line."""
        if self._snapshot is None:
            return
        part = self.query_one(TabbedContent).active
        section = SECTIONS[part](self._snapshot, time.monotonic())
        table = self._table(part)
        if not table.columns:
            table.add_columns(*section.head)
        cursor = table.cursor_row
        before = _key(table.get_row_at(cursor)) if table.row_count else ""
        table.clear()
        rows = sorted(section.rows, key=_is_well)[:MAX_ROWS]
        for number, row in enumerate(rows):
            cells = [Text(cell or "-", style=_STYLES.get(cell, "")) for cell in row]
            table.add_row(*cells)
            if _key(cells) == before:
                cursor = number
        table.move_cursor(row=min(cursor, max(0, len(rows) - 1)))


def _key(row: Sequence[Text]) -> str:
    return " ".join(cell.plain for cell in row[:2])


def _is_well(row: Sequence[str]) -> bool:
    return not any("red" in _STYLES.get(cell, "") for cell in row)
