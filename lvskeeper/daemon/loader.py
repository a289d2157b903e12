"""Load a configuration file in a process of its own.

The supervisor stays small and safe: parsing, pydantic and whatever a broken file provokes live in
a short-lived child, which sends back either a role configuration or the list of what is wrong.
"""

import gc
import socket
from collections.abc import Callable

import msgspec

from lvskeeper.daemon.channel import Loaded, encode
from lvskeeper.errors import ExitStatus


def load_file(path: str) -> Loaded:
    """Parse, lint and compile the configuration at *path*."""
    from lvskeeper.config.diagnostics import Severity, render_text  # noqa: PLC0415 - heavy
    from lvskeeper.config.load import load  # noqa: PLC0415 - heavy
    from lvskeeper.daemon.compile import compile_director  # noqa: PLC0415 - heavy
    from lvskeeper.kernel.files import DiskFiles  # noqa: PLC0415 - heavy

    gc.disable()  # a collection over a model of 10,000 servers costs 100 ms, and nothing is garbage
    loaded = load(path, DiskFiles())
    spec = None
    if loaded.config is not None:
        spec = msgspec.Raw(msgspec.json.encode(compile_director(loaded.config)))
    lines = {
        severity: tuple(str(item) for item in loaded.diagnostics if item.severity is severity)
        for severity in Severity
    }
    return Loaded(
        spec=spec,
        errors=lines[Severity.ERROR],
        warnings=lines[Severity.WARNING],
        report=render_text(loaded.diagnostics),
    )


def loader_main(path: str) -> Callable[[socket.socket], int]:
    """Return the main function of the loader child for *path*."""

    def main(sock: socket.socket) -> int:
        sock.sendall(encode(load_file(path)))
        return ExitStatus.OK

    return main
