"""The VM runner: one boot a test, half a minute each under emulation."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lvskeeper.lab import kernels, vm

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = [sys.executable, "-m", "lvskeeper.lab", "run"]

pytestmark = [
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        kernels.inside_vm() or kernels.ipvs_is_here(),
        reason="boots a VM, which only a kernel without ip_vs asks for",
    ),
]


def folders(owner: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"lvskeeper-vm-{owner}-*"))


def machines(owner: int) -> list[int]:
    """Return the qemu processes that belong to the runner *owner*, by their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in line and f"lvskeeper-vm-{owner}-".encode() in line:
            found.append(int(process.name))
    return found


def test_status_streams_order_folder_and_environment_come_through() -> None:
    script = (
        "import os, sys\n"
        "for n in range(2000):\n"
        "    print('out', n, flush=True)\n"
        "    print('err', n, file=sys.stderr, flush=True)\n"
        "print(os.getcwd(), os.getuid(), os.environ['LVSKEEPER_TEST'])\n"
        "sys.exit(42)\n"
    )
    done = subprocess.run(
        [*RUN, "--", "/usr/bin/python3", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=os.environ | {"LVSKEEPER_TEST": "passed on"},
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("lab: ")]
    assert done.returncode == 42, done.stdout
    assert lines[:-1] == [f"{word} {n}" for n in range(2000) for word in ("out", "err")]
    assert lines[-1] == f"{REPOSITORY} 0 passed on"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_vm_and_leaves_nothing(number: signal.Signals) -> None:
    child = subprocess.Popen(
        [*RUN, "--", "sh", "-c", "echo begun; sleep 1000"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        assert machines(child.pid)
        child.send_signal(number)
    # After SIGKILL the guest sees that its host is gone, and stops itself
    deadline = time.monotonic() + 60
    while machines(child.pid) and time.monotonic() < deadline:
        select.select([], [], [], 0.1)
    assert not machines(child.pid)
    vm._sweep()
    assert not folders(child.pid)


def test_the_time_limit_stops_the_vm() -> None:
    done = subprocess.run(
        [*RUN, "--timeout", "1", "--", "sleep", "1000"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 124
    assert "took longer than 1 s" in done.stderr
