"""The other end of the control socket: asks a running daemon, and turns its problems into statuses.

Only the standard library: a command that asks something is done before aiohttp would be imported.
"""

import argparse
import http.client
import json
import socket
import time
from pathlib import Path
from typing import Final, TypeVar, final

import msgspec

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe.snapshot import API_VERSION, SOCKET_NAME, Failure, Problem, Snapshot

DEFAULT_RUN_DIR: Final = Path("/run/lvskeeper")
LIMIT: Final = 60.0
"""Seconds for a question; the first one after a start waits for an import, too."""

CROWD_PAUSE: Final = 0.05
"""Seconds until a socket before which too many wait is tried again."""

STATUSES: Final = {
    "bad_request": ExitStatus.CONFIG,
    "not_found": ExitStatus.NOT_FOUND,
    "refused": ExitStatus.REFUSED,
    "unavailable": ExitStatus.TIMED_OUT,
    "timed_out": ExitStatus.TIMED_OUT,
}
"""How a command ends with a problem of a code; all others are bugs."""

View = TypeVar("View")


def add_run_dir(parser: argparse.ArgumentParser) -> None:
    """Declare the option that says which daemon is meant."""
    parser.add_argument(
        "--run-dir", type=Path, default=DEFAULT_RUN_DIR, metavar="DIR",
        help="runtime directory of the daemon (default: %(default)s)",
    )  # fmt: skip


@final
class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, limit: float) -> None:
        super().__init__("lvskeeper", timeout=limit)
        self._path = path
        self._limit = limit

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        deadline = time.monotonic() + self._limit
        while True:
            try:
                self.sock.connect(str(self._path))
            except BlockingIOError:
                # So many wait already that the kernel takes no more; a unix socket says so at once.
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                time.sleep(CROWD_PAUSE)
            else:
                return


@final
class Client:
    """Asks the daemon of one runtime directory.

    Every method raises :class:`OperatorError`: NO_DAEMON where none answers, PERMISSION where the
    socket is not for this user, and what :data:`STATUSES` says.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / SOCKET_NAME

    def snapshot(self) -> Snapshot:
        """Return how the daemon is; parts that did not answer are in its problems."""
        status, body = self.exchange("GET", "/snapshot")
        # With problems it is an answer all the same.
        if status == 200 or b'"daemon"' in body[:64]:
            return _decode(body, Snapshot)
        raise problem_of(body)

    def get(self, path: str, kind: type[View]) -> View:
        """Return the answer at *path*."""
        status, body = self.exchange("GET", path)
        if status != 200:
            raise problem_of(body)
        return _decode(body, kind)

    def post(
        self, path: str, fields: dict[str, object], kind: type[View], limit: float = LIMIT
    ) -> View:
        """Send *fields* to *path*; return the answer."""
        status, body = self.exchange("POST", path, json.dumps(fields).encode(), limit)
        if status != 200:
            raise problem_of(body)
        return _decode(body, kind)

    def exchange(
        self, method: str, path: str, body: bytes | None = None, limit: float = LIMIT
    ) -> tuple[int, bytes]:
        """Return status and body of one request below ``/v1``."""
        connection = _Connection(self._path, limit)
        try:
            connection.request(method, f"/v{API_VERSION}{path}", body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except PermissionError as error:
            raise OperatorError(
                f"{self._path}: {error.strerror}",
                status=ExitStatus.PERMISSION,
                hint="control_socket in global_defs says who may use it; root may.",
            ) from error
        except TimeoutError as error:
            raise OperatorError(
                f"the daemon did not answer within {limit:g} s",
                status=ExitStatus.TIMED_OUT,
                hint="It is busy or stuck; its log may say more.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or "it ended"
            raise OperatorError(
                f"no daemon answers at {self._path}: {reason}",
                status=ExitStatus.NO_DAEMON,
                hint="Start it with lvskeeper run, or name its directory with --run-dir.",
            ) from error
        finally:
            connection.close()


def problem_of(body: bytes) -> OperatorError:
    """Return the error that an answer other than 200 carries."""
    try:
        problem = msgspec.json.decode(body, type=Failure).error
    except msgspec.DecodeError:
        problem = Problem("internal", f"the daemon answered {body[:200]!r}")
    status = STATUSES.get(problem.code, ExitStatus.INTERNAL)
    return OperatorError(problem.message, status=status, hint=problem.hint)


def _decode(body: bytes, kind: type[View]) -> View:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise OperatorError(
            f"the daemon's answer is not understood: {error}",
            status=ExitStatus.INTERNAL,
            hint="Daemon and command may be of different versions; restart the daemon.",
        ) from error
