"""How a unit with a user of its own starts the daemon; tests/package/test_units.py compares."""

import os
from pathlib import Path
from typing import Final

NOBODY: Final = 65534
CAPABILITIES: Final = ("net_admin", "net_raw", "sys_nice", "ipc_lock")


def as_nobody(folder: Path) -> list[str]:
    """Return what goes before the command; the runtime directory *folder*/run is made for it."""
    run_dir = folder / "run"
    run_dir.mkdir()
    os.chown(run_dir, NOBODY, NOBODY)
    folder.chmod(0o755)
    names = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES)])
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        f"--bounding-set={names}", f"--inh-caps={names}", f"--ambient-caps={names}",
        "--no-new-privs",
    ]  # fmt: skip
