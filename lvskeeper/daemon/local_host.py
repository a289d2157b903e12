"""The machine that a configuration is checked on: what the lint asks of it."""

import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, final

NET: Final = Path("/sys/class/net")


@final
class LocalHost:
    """This machine; see :class:`lvskeeper.config.script_lint.Host`."""

    def interfaces(self) -> Collection[str]:
        """Return the names of its network interfaces."""
        # Not from /sys: a chroot may have none, and it shows the namespace that mounted it
        return frozenset(name for _, name in socket.if_nameindex())

    def megabits(self, interface: str) -> int:
        """Return the speed of a link in Mbit/s, 0 where it tells none."""
        try:
            return max(0, int((NET / interface / "speed").read_text()))
        except (OSError, ValueError):
            return 0  # virtual devices, and links that are down

    def problem(self, argv: Sequence[str]) -> str:
        """Return why a command cannot be run, or should not; nothing where it can."""
        import shutil  # noqa: PLC0415 - it takes its time, and few files name scripts

        from lvskeeper.daemon.children import PATH  # noqa: PLC0415 - asyncio
        from lvskeeper.daemon.script_security import weak_place  # noqa: PLC0415 - see above

        name = argv[0]
        if "\0" in name:
            return ""
        if "/" not in name:
            found = shutil.which(name, path=PATH)
            if found is None:
                return f"there is no program '{name}' in {PATH}"
            path = Path(found)
        else:
            # Scripts start in the root directory, which is what a relative path is relative to.
            path = Path("/", name)
        try:
            if not path.is_file():
                return f"{path} is no file" if path.exists() else f"{path} does not exist"
            if not os.access(path, os.X_OK):
                return f"{path} is not executable"
            return weak_place(str(path))
        except OSError as failure:
            return f"cannot look at {path}: {failure.strerror}"
