"""A program of the laboratory that works in a namespace and tells how it goes, line by line."""

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, final

from lvskeeper.lab.netns import Namespace

Told = TypeVar("Told")


@final
class Teller:
    """Runs such a program in *namespace*; *take* gets each line of its output.

    It has *patience* seconds to end when it is told to.
    """

    def __init__(
        self,
        namespace: Namespace,
        arguments: Sequence[str],
        take: Callable[[str], None],
        *,
        patience: float,
    ) -> None:
        self.changed: Final = threading.Condition()
        """Held while a line is taken, and by whoever looks at what came of it."""
        self._namespace: Final = namespace
        self._arguments: Final = tuple(arguments)
        self._take: Final = take
        self._patience: Final = patience
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Start the program."""
        self._process = self._namespace.python(*self._arguments, stdout=subprocess.PIPE)
        self._reader.start()

    def stop(self) -> None:
        """Let it come to its end, and take what it still tells."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reader.join(self._patience)

    def wait_for(
        self, look: Callable[[], Told], wanted: Callable[[Told], bool], timeout: float
    ) -> Told:
        """Return what *look* sees once it is as *wanted*.

        Raises ``TimeoutError`` with what it sees after *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        with self.changed:
            while not wanted(seen := look()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not seen within {timeout:g} s: {seen}")
                self.changed.wait(left)
        return seen

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self.changed:
                self._take(line)
                self.changed.notify_all()
