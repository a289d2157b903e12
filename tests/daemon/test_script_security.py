import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_security import root_risk, weak_place

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A script in two directories that are root's alone."""
    script = tmp_path / "a" / "b" / "script"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert weak_place(str(script)) == ""
    return script


def open_to_all(script: Path) -> Path:
    script.chmod(0o757)
    return script


def of_somebody(script: Path) -> Path:
    os.chown(script, NOBODY, 0)
    return script


def of_a_group(script: Path) -> Path:
    os.chown(script, 0, pwd.getpwnam("nobody").pw_gid)
    script.chmod(0o775)
    return script


def below_an_open_directory(script: Path) -> Path:
    script.parent.parent.chmod(0o777)
    return script.parent.parent


def below_somebodys_directory(script: Path) -> Path:
    os.chown(script.parent, NOBODY, -1)
    return script.parent


@pytest.mark.parametrize(
    ("weaken", "why"),
    [
        (open_to_all, "is writable by everybody"),
        (of_somebody, "belongs to nobody"),
        (of_a_group, "is writable by a group"),
        (below_an_open_directory, "is writable by everybody"),
        (below_somebodys_directory, "belongs to nobody"),
    ],
)
def test_the_weak_place_is_named(place: Path, weaken: Callable[[Path], Path], why: str) -> None:
    weak = weaken(place)
    assert weak_place(str(place)) == f"{weak} {why}"


def test_the_group_of_root_may_write_but_not_an_access_list(place: Path) -> None:
    place.chmod(0o775)
    assert weak_place(str(place)) == ""
    # Version 2, then tag, permissions and id of: owner, user nobody, group, mask, others.
    entries = [(1, 7, -1), (2, 7, NOBODY), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
    value = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little")
        + mode.to_bytes(2, "little")
        + (name & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, mode, name in entries
    )
    try:
        os.setxattr(place, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no access lists here: {error.strerror}")
    assert weak_place(str(place)) == f"{place} is writable by a group"


def test_links_are_followed_and_looked_at(place: Path, tmp_path: Path) -> None:
    below_somebodys_directory(place)
    safe = tmp_path / "safe"
    safe.mkdir()
    for target in (str(place), f"../{place.relative_to(tmp_path)}"):
        link = safe / f"link{len(target)}"
        link.symlink_to(target)
        assert weak_place(str(link)) == f"{place.parent} belongs to nobody"
    through = safe / ".." / "safe" / f"link{len(str(place))}"
    assert weak_place(str(through)) == f"{place.parent} belongs to nobody"


def test_a_link_of_somebody_is_a_weak_place(place: Path, tmp_path: Path) -> None:
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    link = sticky / "link"
    link.symlink_to(place)
    assert weak_place(str(link)) == ""
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    assert weak_place(str(link)) == f"{link} belongs to nobody"


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("y")
    (tmp_path / "y").symlink_to("x")
    assert weak_place(str(tmp_path / "x")) == f"{tmp_path}/x: too many symbolic links"


def test_only_what_runs_as_root_is_a_risk(place: Path) -> None:
    open_to_all(place)
    name = str(place)
    risk = f"{name} is writable by everybody"
    assert root_risk(Script((name, "x"))) == risk
    assert root_risk(Script((name,), user="root")) == risk
    assert root_risk(Script((name,), group="nogroup")) == risk
    assert root_risk(Script((name[1:] + "/../script",))) == risk
    assert root_risk(Script((name,), user="nobody")) == ""
    assert root_risk(Script((name,), user="no-such-user")) == ""
    assert root_risk(Script(("/nowhere/at/all",))) == ""
    assert root_risk(Script(("true",))) == ""


def test_somebody_else_runs_what_he_likes(place: Path) -> None:
    open_to_all(place)
    code = (
        "import os; os.setuid(65534)\n"
        "from lvskeeper.daemon.roles import Script\n"
        "from lvskeeper.daemon.script_security import root_risk\n"
        f"print(repr(root_risk(Script(({str(place)!r},)))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "''\n"
