"""Load a configuration file in a process of its own.

The supervisor stays small and safe: parsing, pydantic and whatever a broken file provokes live in
a short-lived child, which sends back either a role configuration or the list of what is wrong.
"""

import gc
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from lvskeeper.daemon.channel import Loaded, encode
from lvskeeper.daemon.questions import Serve
from lvskeeper.daemon.role import RoleName
from lvskeeper.errors import ExitStatus

NOTHING: Final = msgspec.Raw(b"null")


def load_file(
    path: str,
    *,
    allow_empty: bool = False,
    config_id: str | None = None,
    off: tuple[str, ...] = (),
    compat: bool = False,
    only: RoleName | None = None,
) -> Loaded:
    """Parse, lint and compile the configuration at *path*; with *only* the part of one role."""
    from lvskeeper.config.compat import HINT  # noqa: PLC0415 - heavy
    from lvskeeper.config.diagnostics import render_text  # noqa: PLC0415 - heavy
    from lvskeeper.config.load import load  # noqa: PLC0415 - heavy
    from lvskeeper.daemon.compile import compile_director  # noqa: PLC0415 - heavy
    from lvskeeper.daemon.compile_router import compile_router  # noqa: PLC0415 - heavy
    from lvskeeper.daemon.roles import DirectorSpec  # noqa: PLC0415 - heavy
    from lvskeeper.kernel.files import LocalFiles, local_surroundings  # noqa: PLC0415 - heavy

    around = local_surroundings(config_id)
    loaded = load(path, LocalFiles(), around, allow_empty=allow_empty, off=off, compat=compat)
    spec = router = NOTHING
    control = Serve()
    if loaded.config is not None:
        if (wanted := loaded.config.global_defs.control_socket) is not None:
            control = Serve(*wanted)
        of_ipvs = compile_director(loaded.config) if only is not RoleName.ROUTER else DirectorSpec()
        spec = msgspec.Raw(msgspec.json.encode(of_ipvs))
        if only is not RoleName.DIRECTOR and (of_vrrp := compile_router(loaded.config)):
            router = msgspec.Raw(msgspec.json.encode(of_vrrp))
    report = [render_text(item) for item in loaded.diagnostics]
    if loaded.relaxable:
        report.append(f"{path}: note: {HINT}")
    return Loaded(
        spec=spec,
        errors=tuple(map(str, loaded.errors)),
        warnings=tuple(map(str, loaded.warnings)),
        report="".join(f"{part}\n" for part in report),
        router=router,
        control=control,
    )


def loader_main(
    path: str,
    *,
    allow_empty: bool,
    config_id: str | None = None,
    off: tuple[str, ...] = (),
    compat: bool = False,
    only: RoleName | None = None,
) -> Callable[[socket.socket], int]:
    """Return the main function of the loader child for *path*."""

    def main(sock: socket.socket) -> int:
        gc.disable()  # the child is gone before a collection of the model would pay
        loaded = load_file(
            path, allow_empty=allow_empty, config_id=config_id, off=off, compat=compat, only=only
        )
        sock.sendall(encode(loaded))
        return ExitStatus.OK

    return main
