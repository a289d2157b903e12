"""A directory service that hangs: a pipe in the place of ``/etc/passwd`` or ``/etc/group``."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE = 30.0
"""Seconds for a whole interpreter, on a machine with much else to do."""


@asynccontextmanager
async def hung(
    stands_for: str, pipe: Path, program: str, *arguments: str
) -> AsyncIterator[Process]:
    """Run *program*, which waits where it reads *stands_for* until somebody writes to *pipe*.

    It is Python; it has pipes for its input and output, and is killed if it has not ended.
    """
    os.mkfifo(pipe)
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", f'mount --bind {pipe} {stands_for} && exec "$@"', "sh",
        sys.executable, "-c", program, *arguments,
        stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
