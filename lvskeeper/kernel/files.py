"""Files for the configuration room: the real implementation of its ``Files`` protocol."""

import errno
import os
import stat
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Final, final

from lvskeeper.config.braces import expand_braces
from lvskeeper.config.source import Surroundings

MAX_SIZE: Final = 64 * 1024 * 1024
"""Largest file that is read, in bytes."""


def _check_name(path: str) -> None:
    if "\0" in path:
        raise OSError(errno.EINVAL, "the name holds a NUL character", path)


@final
class LocalFiles:
    """Files of this machine."""

    def read_text(self, path: str) -> str:
        """Return the text of *path*, undecodable bytes as U+FFFD; raise ``OSError``."""
        _check_name(path)
        with Path(path).open("rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return data.decode("utf-8", errors="replace")

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the sorted regular files that *pattern* matches; ``{a,b}`` is understood.

        Raises ``OSError`` for a NUL character, and where braces stand for too much.
        """
        _check_name(pattern)
        found = {path for plain in expand_braces(pattern) for path in glob(plain)}  # noqa: PTH207 - patterns may be absolute
        return sorted(path for path in found if Path(path).is_file())

    def exposed(self, path: str) -> bool:
        """Whether others than the owner of *path* can read or write it; raise ``OSError``."""
        _check_name(path)
        return bool(Path(path).stat().st_mode & 0o066)

    def check_include(self, path: str) -> None:
        """Raise ``OSError`` where *path* is missing, no regular file, or executable.

        keepalived passes over such files: a script in the folder of the parts is no part.
        """
        _check_name(path)
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        if mode & 0o111:
            raise OSError(errno.EACCES, "it is executable, so it is no configuration", path)


def local_surroundings(config_id: str | None = None) -> Surroundings:
    """Return what a configuration may ask this machine for.

    *config_id* is the node's name up to its first dot where nothing else is said.
    """
    if config_id is None:
        config_id = os.uname().nodename.partition(".")[0]
    return Surroundings(config_id, str(Path.cwd()), os.environ, _random)


def _random(low: int, high: int) -> int:
    return low + int.from_bytes(os.urandom(8), "big") % (high - low + 1)
