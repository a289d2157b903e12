"""Takes out of the kernel what a dead daemon has left there, by its state files; nothing else.

It is what a daemon does at its stop: the same roles, which get a stop before any configuration.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from lvskeeper.daemon.channel import Channel, Stop, Stopped
from lvskeeper.daemon.holder import STATE_FILE
from lvskeeper.daemon.process import spawn
from lvskeeper.daemon.role import News, Role, RoleName
from lvskeeper.daemon.run_dir import take_run_dir
from lvskeeper.daemon.state import OwnedState, StateFile

LIMIT: Final = 60.0
"""Seconds that a role may need: it imports its modules first."""

Mains: TypeAlias = Mapping[RoleName, Callable[[socket.socket], int]]


def left_behind(run_dir: Path) -> tuple[RoleName, ...]:
    """Return whose state files tell of something in the kernel, the router first, as at a stop.

    Raises :class:`~lvskeeper.errors.OperatorError` where a file cannot be read.
    """
    found = [RoleName.ROUTER] if (run_dir / STATE_FILE).exists() else []
    if run_dir.exists() and StateFile(run_dir).load() != OwnedState():
        found.append(RoleName.DIRECTOR)
    return tuple(found)


async def clean_up(run_dir: Path, roles: Sequence[RoleName], mains: Mains) -> tuple[str, ...]:
    """Let each of *roles* remove what its predecessor has left; return what could not be removed.

    Raises :class:`~lvskeeper.errors.OperatorError` where a daemon runs in *run_dir*.
    """
    left: list[str] = []
    with contextlib.closing(await take_run_dir(run_dir)):
        for name in roles:
            left += await _clean_up_one(name, mains[name])
    return tuple(left)


async def _clean_up_one(name: RoleName, main: Callable[[socket.socket], int]) -> tuple[str, ...]:
    child = spawn(name, main)
    role = Role(name, child, await Channel.connect(child.sock), _ignore)
    living = asyncio.ensure_future(role.live(lambda _silent: None))
    try:
        answer = await role.ask(Stop(remove=True), LIMIT)
        assert isinstance(answer, Stopped)
    except (ConnectionError, TimeoutError) as error:
        role.kill()
        return (f"the {name} role did not do it: {str(error) or 'no answer'}",)
    finally:
        await living
    return answer.left


def _ignore(_news: News) -> None:
    """Take no notice: nobody is there whom it concerns."""
