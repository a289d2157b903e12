"""Commands that were started without a standard stream, as ``>&-`` does it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lvskeeper.errors import ExitStatus

EXAMPLE = Path(__file__).parents[2] / "conf/first.conf"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_verdict(closed: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text("virtual_server {\n")
    for file, expected in ((EXAMPLE, ExitStatus.OK), (bad, ExitStatus.CONFIG)):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -m lvskeeper check "$1" {closed}', sys.executable, str(file)],
            check=False,
            capture_output=True,
        )
        assert done.returncode == expected
        assert b"Traceback" not in done.stderr
