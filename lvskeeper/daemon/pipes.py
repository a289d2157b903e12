"""The named pipes of one role, each with its reader: opened, kept over reloads, closed."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import final

from lvskeeper.daemon.fifo import FifoWriter
from lvskeeper.daemon.fifo_reader import PAUSE_FIRST, FifoReader
from lvskeeper.daemon.roles import Fifo


@final
@dataclass(slots=True)
class _Pipe:
    spec: Fifo
    writer: FifoWriter
    reader: FifoReader | None = None


@final
class Pipes:
    """*on_problem* gets a sentence about a pipe or its reader. Nothing here is waited for.

    Another role may write to the same pipe: lines are whole, and one of the two has the reader.
    """

    def __init__(
        self, on_problem: Callable[[str], None], *, reader_pause: float = PAUSE_FIRST
    ) -> None:
        """Make it without pipes; *reader_pause* is in seconds, before a reader is started again."""
        self._on_problem = on_problem
        self._reader_pause = reader_pause
        self._secure = False
        self._pipes: dict[str, _Pipe] = {}
        self._ending: list[FifoReader] = []

    def replace(self, fifos: Iterable[Fifo], *, secure: bool) -> None:
        """Have *fifos* from now on; those that are the same stay.

        *secure* is for their readers (``enable_script_security``). A pipe that cannot be opened is
        a problem, and is tried again by the next call.
        """
        self._secure = secure
        wanted: dict[str, Fifo] = {}
        for fifo in fifos:
            known = wanted.get(fifo.path)
            # Two keywords may name one pipe: it gets each line once, and one reader.
            if known is None or (known.reader is None and fifo.reader is not None):
                wanted[fifo.path] = fifo
        for path in [path for path in self._pipes if path not in wanted]:
            self._leave(self._pipes.pop(path))
        for fifo in wanted.values():
            self._put(fifo)

    def write(self, subject: Hashable, line: bytes, *, passing: bool = False) -> None:
        """Write *line* to all of them; see :meth:`FifoWriter.write`."""
        for pipe in [pipe for pipe in self._pipes.values() if not pipe.writer.there()]:
            # Another role made it and is gone, or somebody removed it.
            self._put(pipe.spec)
        for pipe in self._pipes.values():
            pipe.writer.write(subject, line, passing=passing)

    def leave(self) -> None:
        """Close all; their readers may read to the end."""
        for path in list(self._pipes):
            self._leave(self._pipes.pop(path))

    async def ended(self) -> None:
        """Wait until all readers that were let go are gone, a few seconds at most."""
        for reader in self._ending:
            await reader.ended()

    def _put(self, fifo: Fifo) -> None:
        """Have the pipe as *fifo* says, and keep what is there if it says the same."""
        pipe = self._pipes.get(fifo.path)
        if pipe is not None and not pipe.writer.there():
            self._leave(self._pipes.pop(fifo.path))
            pipe = None
        if pipe is None:
            try:
                pipe = _Pipe(fifo, FifoWriter(fifo, self._on_problem))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self._on_problem(f"FIFO {fifo.path} cannot be used: {reason}")
                return
            self._pipes[fifo.path] = pipe
        elif (pipe.spec.user, pipe.spec.group) != (fifo.user, fifo.group):
            pipe.writer.own(fifo)
        pipe.spec = fifo
        self._put_reader(pipe)

    def _put_reader(self, pipe: _Pipe) -> None:
        """Have the reader of *pipe* as it is configured, started after the last one has ended."""
        old, script = pipe.reader, pipe.spec.reader
        if old is not None:
            if old.script == script and old.secure == self._secure and not old.gone:
                return
            self._end(old)
        pipe.reader = None
        if script is not None:
            pipe.reader = FifoReader(
                script,
                pipe.spec.path,
                self._on_problem,
                secure=self._secure,
                pause=self._reader_pause,
                after=old,
                owned=pipe.writer.owned,
            )

    def _leave(self, pipe: _Pipe) -> None:
        """Close *pipe*; its reader may read to the end, then it is ended."""
        pipe.writer.close()
        if pipe.reader is not None:
            self._end(pipe.reader)

    def _end(self, reader: FifoReader) -> None:
        reader.end()
        self._ending = [item for item in self._ending if not item.gone]
        self._ending.append(reader)
