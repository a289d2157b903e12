"""What a start imports: each module too many costs every start, and a tenfold in an emulated VM."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp", "asyncio_dgram", "attr", "dns", "email", "jsonschema", "prometheus_client",
    "pydantic", "pygments", "pyroute2", "rich", "scapy", "smtplib", "textual", "yaml",
    "lvskeeper.cli", "lvskeeper.config", "lvskeeper.lab",
}  # fmt: skip
"""Nobody's; what is in the packages of these names is not there either."""
UNNEEDED = {
    "supervisor": {"lvskeeper.fullnat", "lvskeeper.probes", "lvskeeper.vrrp.tape"},
    "director": {
        "lvskeeper.daemon.file_checks", "lvskeeper.daemon.track_files", "lvskeeper.vrrp.instance",
        "lvskeeper.vrrp.tape",
    },
    "router": {"lvskeeper.fullnat.ruleset", "lvskeeper.health.pool", "lvskeeper.probes"},
}  # fmt: skip
"""By role, as the daemon forks them from the supervisor."""

AS_THE_DAEMON_DOES = """
import importlib, json, os, sys
import lvskeeper.daemon.supervisor
from lvskeeper.daemon.staff import SHARED

for name in SHARED:
    importlib.import_module(name)
sys.stdout.write(json.dumps(["supervisor", sorted(sys.modules)]) + "\\n")
sys.stdout.flush()
for role in ("director", "router"):
    if (pid := os.fork()) == 0:
        importlib.import_module(f"lvskeeper.daemon.{role}")
        sys.stdout.write(json.dumps([role, sorted(sys.modules)]) + "\\n")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """The modules of a supervisor and of each role that has just started."""
    done = subprocess.run(
        [sys.executable, "-c", AS_THE_DAEMON_DOES], capture_output=True, text=True, check=True
    )
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("role", UNNEEDED)
def test_a_start_imports_nothing_that_it_does_not_need(
    role: str, imported: dict[str, list[str]]
) -> None:
    roots = HEAVY | UNNEEDED[role]
    found = [name for name in imported[role] if any(_within(name, root) for root in roots)]
    assert f"lvskeeper.daemon.{role}" in imported[role]
    assert found == []


def _within(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")
