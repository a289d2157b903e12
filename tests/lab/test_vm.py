"""The VM runner, as far as it can be tested without a boot."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lvskeeper.errors import OperatorError
from lvskeeper.lab import guest, kernels, vm


def test_frames_come_out_as_they_went_in() -> None:
    ours, theirs = os.pipe()
    payload = os.urandom(5000)
    guest.write_all(theirs, guest.pack(guest.Kind.STDERR, payload))
    os.close(theirs)
    kind, size = guest.HEADER.unpack(guest.read_exactly(ours, guest.HEADER.size))
    assert guest.Kind(kind) is guest.Kind.STDERR
    assert guest.read_exactly(ours, size) == payload
    with pytest.raises(EOFError):
        guest.read_exactly(ours, 1)
    os.close(ours)


def test_the_named_kernel_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.KERNEL_VARIABLE, "/nowhere/vmlinuz")
    with pytest.raises(
        OperatorError, match="names /nowhere/vmlinuz, which is not a file"
    ) as caught:
        kernels.find_kernel_image()
    assert "/boot/vmlinuz" in caught.value.hint


def unpack(root: Path, release: str, *, with_modules: bool = True) -> Path:
    """Make what a kernel package unpacks to, as far as it matters; return the image."""
    image = root / "boot" / f"vmlinuz-{release}"
    modules = root / "lib/modules" / release / "kernel/net/netfilter/ipvs"
    for folder in (image.parent, modules):
        folder.mkdir(parents=True)
    image.touch()
    if with_modules:
        (modules / "ip_vs.ko.xz").touch()
    return image


def test_oldest_and_newest_go_by_the_version_and_need_ip_vs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels, "FETCHED", tmp_path)
    old = unpack(tmp_path / "0.9.5", "0.9.5-amd64")
    unpack(tmp_path / "0.8", "0.8-amd64", with_modules=False)
    unpack(tmp_path / "999.9.1", "999.9.1-amd64")
    new = unpack(tmp_path / "999.12.1", "999.12.1+deb12-amd64")

    monkeypatch.setenv(kernels.KERNEL_VARIABLE, "oldest")
    assert kernels.find_kernel_image() == old
    monkeypatch.setenv(kernels.KERNEL_VARIABLE, "newest")
    assert kernels.find_kernel_image() == new
    assert kernels.kernel_release(new) == "999.12.1+deb12-amd64"


def test_unless_another_is_asked_for_the_installed_kernel_goes_before_a_fetched_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(kernels.KERNEL_VARIABLE, raising=False)
    monkeypatch.setattr(kernels, "FETCHED", tmp_path)
    new = unpack(tmp_path / "999.12.1", "999.12.1+deb12-amd64")
    others = [image for image in kernels.kernel_images() if image != new]

    assert kernels.find_kernel_image() == (others or [new])[-1]


def test_a_missing_qemu_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorError, match="qemu-system-") as caught:
        vm._tool("qemu-system-none", "apt-get install qemu-system-x86")
    assert caught.value.hint == "apt-get install qemu-system-x86"


def test_a_verdict_on_kvm_counts_for_this_boot_of_this_host_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vm, "CACHE", tmp_path / "cache")
    assert vm._kvm_verdict() is None
    vm._note_kvm_verdict(works=False)
    assert vm._kvm_verdict() is False
    monkeypatch.setattr(vm, "_kvm_key", lambda: "another boot")
    assert vm._kvm_verdict() is None


def test_folders_of_dead_runs_are_swept_and_those_of_living_ones_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    gone = tmp_path / f"lvskeeper-vm-{dead.stdout.strip()}-a"
    kept = tmp_path / f"lvskeeper-vm-{os.getpid()}-b"
    gone.mkdir()
    kept.mkdir()
    vm._sweep()
    assert not gone.exists()
    assert kept.exists()


def test_a_command_that_runs_right_here_gives_its_status_and_obeys_its_limit() -> None:
    assert vm._run_here(["sh", "-c", "exit 9"], 0) == 9
    assert vm._run_here(["sh", "-c", "kill -TERM $$"], 0) == 128 + signal.SIGTERM
    started = time.monotonic()
    assert vm._run_here(["sleep", "100"], 0.2) == 124
    assert time.monotonic() - started < 20


def test_the_place_is_named() -> None:
    done = subprocess.run([sys.executable, "-m", "lvskeeper.lab", "where"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        assert "hint: " in done.stderr
    else:
        assert "kernel" in done.stdout or "VM" in done.stdout


@pytest.mark.ipvs
def test_where_the_marker_ipvs_runs_there_is_ipvs() -> None:
    assert kernels.has_ipvs_family()
    assert vm.where_ipvs_is() == kernels.lab_kernel()
