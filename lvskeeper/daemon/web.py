"""Where the read-only status page listens: loopback or a unix socket, never the network."""

import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Final

from lvskeeper.errors import ExitStatus, OperatorError

BACKLOG: Final = 32
MODE: Final = 0o660
"""Of a unix socket: a web server in the group of the directory may read."""


def open_web(where: str) -> socket.socket:
    """Return a socket that listens at *where*: ``unix:/PATH``, ``127.0.0.1:PORT``, ``[::1]:PORT``.

    Raises :class:`OperatorError` for any other place, and where it cannot be had.
    """
    try:
        if where.startswith("unix:"):
            return _open_unix(Path(where.removeprefix("unix:")))
        return _open_loopback(where)
    except OSError as error:
        raise OperatorError(
            f"--web {where}: {error.strerror or error}",
            status=ExitStatus.CONFIG,
            hint="Is another program there?",
        ) from error


def _open_loopback(where: str) -> socket.socket:
    host, _, port = where.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        address = ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise _refusal(where) from None
    if not address.is_loopback or not 0 <= number < 65536:
        raise _refusal(where)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, number))
        return _ready(made)
    except BaseException:
        made.close()
        raise


def _open_unix(path: Path) -> socket.socket:
    if not path.is_absolute():
        raise _refusal(f"unix:{path}")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        before = os.umask(0o117)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(MODE)
        return _ready(made)
    except BaseException:
        made.close()
        raise


def _ready(made: socket.socket) -> socket.socket:
    made.setblocking(False)
    made.listen(BACKLOG)
    return made


def _refusal(where: str) -> OperatorError:
    return OperatorError(
        f"--web {where}: neither a loopback address with a port nor unix:/PATH",
        status=ExitStatus.CONFIG,
        hint="As 127.0.0.1:9650, [::1]:9650 or unix:/run/lvskeeper/web.sock; a web server in front "
        "of it may ask for passwords and speak TLS.",
    )
