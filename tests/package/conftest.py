"""What the tests of the packages share: the Debian package, built once."""

import os
import subprocess
from pathlib import Path

import pytest
from support.debian_box import ROOT


@pytest.fixture(scope="session")
def package() -> Path:
    given = os.environ.get("LVSKEEPER_DEB")
    if given:
        return Path(given)
    done = subprocess.run(
        [ROOT / "packaging/deb.sh"], check=True, stdout=subprocess.PIPE, text=True
    )
    return ROOT / done.stdout.splitlines()[-1]
