"""Has a configuration file loaded by a child of the supervisor."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

import msgspec

from lvskeeper.daemon.channel import Channel, Loaded
from lvskeeper.daemon.loader import NOTHING, loader_main
from lvskeeper.daemon.process import describe_status, reaped, spawn
from lvskeeper.daemon.role import RoleName
from lvskeeper.errors import ExitStatus

LOAD_LIMIT: Final = 120.0
"""Seconds that parsing a file may take."""


async def load_in_child(
    file: Path,
    *,
    allow_empty: bool,
    config_id: str | None = None,
    off: tuple[str, ...] = (),
    compat: bool = False,
    only: RoleName | None = None,
) -> Loaded:
    """Load *file* in a child; a loader that dies, hangs or cannot be started is a refused file."""
    main = loader_main(
        str(file), allow_empty=allow_empty, config_id=config_id, off=off, compat=compat, only=only
    )
    try:
        child = spawn("loader", main, die_with_parent=True)
    except OSError as error:
        return _failed(file, error.strerror or str(error))
    channel = await Channel.connect(child.sock)
    loaded = None
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOAD_LIMIT):
                loaded = await channel.receive(msgspec.json.Decoder(Loaded))
    finally:
        channel.close()
        child.release()
        if loaded is None:
            os.kill(child.pid, signal.SIGKILL)
        status = await reaped(child.pid)
    if loaded is not None:
        return loaded
    return _failed(file, describe_status(status))


def _failed(file: Path, why: str) -> Loaded:
    problem = f"{file}: loading it failed: {why}"
    return Loaded(NOTHING, (problem,), (), f"{problem}\n", status=ExitStatus.INTERNAL)
