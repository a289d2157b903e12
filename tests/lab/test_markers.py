import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = """
import os
import pytest

@pytest.mark.root
def test_root() -> None:
    assert os.geteuid() == 0

@pytest.mark.ipvs
def test_ipvs() -> None:
    assert open("/proc/net/ip_vs").read()

def test_plain() -> None:
    assert True
"""


def outcome(folder: Path, *drop_root: str) -> str:
    """Run the sample under this repository's conftest and return pytest's words."""
    (folder / "test_sample.py").write_text(SAMPLE)
    (folder / "conftest.py").write_text((REPOSITORY / "tests/conftest.py").read_text())
    command = [
        *drop_root, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers",
        "-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(folder), str(folder),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.root
def test_without_root_what_needs_it_is_skipped_and_says_so(tmp_path: Path) -> None:
    said = outcome(tmp_path, "unshare", "--user", "--map-user=1000")
    assert "1 passed, 2 skipped" in said
    assert "needs root" in said


@pytest.mark.root
def test_root_tests_run_as_root_and_ipvs_tests_where_ipvs_is(tmp_path: Path) -> None:
    said = outcome(tmp_path)
    assert "3 passed" in said or ("2 passed, 1 skipped" in said and "needs ip_vs" in said)
