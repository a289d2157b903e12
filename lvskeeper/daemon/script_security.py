"""Whether a script is safe to run as root: ``enable_script_security``.

It is looked at when the script is to start, not when the configuration is read: what is safe then
stays so, for only root can make it unsafe in between.
"""

import os
import pwd
import shutil
import stat
from collections import deque
from pathlib import PurePosixPath
from typing import Final, Protocol

from lvskeeper.daemon.children import PATH

MAX_LINKS: Final = 40
"""Symbolic links on the way to a file, as the kernel has it."""
_ACL: Final = "system.posix_acl_access"


class Runnable(Protocol):
    """What is to run, and who is to run it."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The command."""

    @property
    def user(self) -> str:
        """Who runs it; empty: who we are."""


def root_risk(script: Runnable) -> str:
    """Return why *script* must not be run as root, with the place; or nothing.

    Nothing also where it does not run as root, or is not there: then its start says so.
    """
    if os.geteuid() != 0 or not script.argv:
        return ""
    if script.user:
        try:
            if pwd.getpwnam(script.user).pw_uid != 0:
                return ""
        except (KeyError, ValueError):
            return ""
    name = script.argv[0]
    # Scripts start in the root directory, which is what a relative path is relative to.
    path = os.path.join("/", name) if "/" in name else shutil.which(name, path=PATH)  # noqa: PTH118 - must not be normalised
    try:
        return weak_place(path) if path else ""
    except (OSError, ValueError):
        return ""


def weak_place(path: str) -> str:
    """Return the first place on the way to *path* that others than root may change, and why.

    Nothing where there is none. Each directory, symbolic link and the file itself has to be root's,
    and writable by nobody else. A sticky directory may be writable, as with keepalived: what root
    owns in there, others can neither rename nor remove. Raises ``OSError``, ``ValueError``.
    """
    links = 0
    here = "/"
    if why := _weakness(here, os.lstat(here)):
        return why
    left = deque(PurePosixPath(path).parts[1:])
    while left:
        part = left.popleft()
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - "here" holds no links
            continue
        place = os.path.join(here, part)  # noqa: PTH118 - as above
        found = os.lstat(place)
        if why := _weakness(place, found):
            return why
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        links += 1
        if links > MAX_LINKS:
            return f"{path}: too many symbolic links"
        target = PurePosixPath(os.readlink(place))  # noqa: PTH115 - a path is a text here
        parts = target.parts
        if target.is_absolute():
            here, parts = "/", parts[1:]
        left.extendleft(reversed(parts))
    return ""


def _weakness(place: str, found: os.stat_result) -> str:
    if found.st_uid != 0:
        return f"{place} belongs to {_user_name(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode):
        return ""  # its mode means nothing
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"{place} is writable by everybody"
    if found.st_mode & stat.S_IWGRP and (found.st_gid != 0 or _has_acl(place)):
        return f"{place} is writable by a group"
    return ""


def _has_acl(place: str) -> bool:
    """Whether *place* has an access list: the group bits of its mode are then of all in there."""
    try:
        return bool(os.getxattr(place, _ACL))
    except OSError:
        return False


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
