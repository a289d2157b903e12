"""What the files of the package say of one another, and of the program."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.own_user import CAPABILITIES

from lvskeeper.cli.main import COMMANDS, build_parser
from lvskeeper.errors import ExitStatus

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
UNIT = (PACKAGING / "systemd/lvskeeper.service").read_text()


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_gives_the_capabilities_that_the_tests_run_with() -> None:
    names = " ".join(f"CAP_{name.upper()}" for name in CAPABILITIES)
    assert setting("AmbientCapabilities") == setting("CapabilityBoundingSet") == [names]


def test_the_unit_calls_commands_that_exist() -> None:
    calls = [*setting("ExecStart"), *setting("ExecReload"), *setting("ExecStopPost")]
    for call in calls:
        program, *words = call.removeprefix("-").split()
        assert program == "/usr/bin/lvskeeper"
        assert words[0] in COMMANDS
        build_parser(only=words[0]).parse_args([word for word in words if "$" not in word])


def test_what_no_restart_mends_ends_it() -> None:
    (numbers,) = setting("RestartPreventExitStatus")
    assert [ExitStatus(int(number)) for number in numbers.split()] == [
        ExitStatus.CONFIG, ExitStatus.PERMISSION, ExitStatus.UNSUPPORTED,
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_unit_is_hardened() -> None:
    unit = PACKAGING / "systemd/lvskeeper.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= 2.6


def test_everything_that_is_put_into_the_package_is_there() -> None:
    script = (PACKAGING / "stage.sh").read_text()
    named = re.findall(r"^put \d+ (\S+) /", script, re.MULTILINE)
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).is_file(), name


def test_all_packages_have_the_same_files() -> None:
    script = (PACKAGING / "stage.sh").read_text()
    spec = (PACKAGING / "lvskeeper.spec").read_text()
    for path in re.findall(r"^put \d+ \S+ (/(?:etc|usr/lib)\S+)$", script, re.MULTILINE):
        assert re.search(rf"{re.escape(path)}$", spec, re.MULTILINE), path


@pytest.mark.parametrize("name", ["deb.sh", "stage.sh", "debian/postinst", "debian/prerm",
                                  "debian/postrm", "bootstrap.sh", "test.sh"])  # fmt: skip
def test_the_scripts_are_right_for_the_shell(name: str) -> None:
    shell = "bash" if name.endswith(".sh") else "sh"
    subprocess.run([shell, "-n", PACKAGING / name], check=True)
    assert (PACKAGING / name).stat().st_mode & 0o111
