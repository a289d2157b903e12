"""Runs a command where ip_vs is: right here, or in a VM that is booted for it.

The VM shares the host's files (read-only underneath, writes go to its memory and vanish), so the
same command with the same paths works in both places. Its output comes back live and its exit
status too; see :mod:`lvskeeper.lab.guest` for the other half.
"""

import compileall
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.lab.kernels import (
    find_kernel_image,
    inside_vm,
    ipvs_is_here,
    kernel_release,
    lab_kernel,
)
from lvskeeper.lab.qemu import (
    CACHE,
    CONSOLE_LOG,
    TIMED_OUT,
    WORK_PREFIX,
    Accelerator,
    BootError,
    Machine,
    Vm,
)
from lvskeeper.lab.signals import signals_unwind


def run_where_ipvs_is(argv: Sequence[str], machine: Machine | None = None) -> int:
    """Run *argv* as root on a kernel with ip_vs and return its exit status.

    The running kernel serves where it has ip_vs; else a VM does, with the same working directory.
    Status 124 means that the time limit passed. Raises :class:`OperatorError` where neither works.
    """
    machine = machine or Machine()
    if ipvs_is_here() and not machine.icount:
        return _run_here(argv, machine.timeout)
    if inside_vm():
        raise OperatorError(
            f"the VM's kernel {platform.release()} has no ip_vs",
            status=ExitStatus.UNSUPPORTED,
            hint="name another kernel image in LVSKEEPER_KERNEL, or none to take Debian's",
        )
    return _run_in_vm(list(argv), machine)


def _say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def _run_here(argv: Sequence[str], timeout: float) -> int:
    with signals_unwind(), subprocess.Popen(argv) as child:
        try:
            status = child.wait(timeout or None)
        except subprocess.TimeoutExpired:
            _say(f"the command is stopped: it took longer than {timeout:g} s")
            child.kill()
            return TIMED_OUT
        except BaseException:
            child.terminate()  # its own clean-up runs; the context manager waits for it
            raise
    return status if status >= 0 else 128 - status


def _tool(name: str, package: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise OperatorError(
            f"this kernel has no ip_vs, and {name}, which a VM needs, is not there",
            status=ExitStatus.UNSUPPORTED,
            hint=package,
        )
    return found


def where_ipvs_is() -> str:
    """Say where :func:`run_where_ipvs_is` would run; raise as it does, but boot nothing."""
    if ipvs_is_here() or inside_vm():
        return lab_kernel()
    _, image = _prepare()
    return f"a VM with {image}"


def _prepare() -> tuple[str, Path]:
    """Return vng and the kernel image; raise :class:`OperatorError` where something is missing."""
    vng = _tool("vng", "pip install 'lvskeeper[lab]' into the virtual environment")
    _tool(f"qemu-system-{platform.machine()}", "apt-get install qemu-system-x86")
    _tool("busybox", "apt-get install busybox-static")
    return vng, find_kernel_image()


def _run_in_vm(argv: list[str], machine: Machine) -> int:
    vng, image = _prepare()
    _sweep()
    _compile()
    with signals_unwind():
        return _boot_and_run(vng, image, argv, machine)


def _boot_and_run(vng: str, image: Path, argv: list[str], machine: Machine) -> int:
    """Try KVM where it may work, then emulation, twice; a command is never started twice."""
    release = kernel_release(image)
    accelerators = [Accelerator.EMULATION, Accelerator.EMULATION]
    may_try_kvm = not machine.icount and os.access("/dev/kvm", os.R_OK | os.W_OK)
    if may_try_kvm and _kvm_verdict() is not False:
        accelerators.insert(0, Accelerator.KVM)
    problem = ""
    for accelerator in accelerators:
        started = time.monotonic()
        usual = "5 s" if accelerator is Accelerator.KVM else "30 s"
        _say(f"booting kernel {release} under {accelerator.value} (about {usual})")
        with Vm(vng, image, machine, accelerator) as vm:
            try:
                vm.wait_until_up()
            except BootError as error:
                problem = f"{error}; its console ends with\n{vm.keep_console()}"
                trial = accelerator is Accelerator.KVM
                _say(f"{error}{'; KVM does not serve here, emulation follows' if trial else ''}")
                continue
            if Accelerator.KVM in accelerators:
                _note_kvm_verdict(works=accelerator is Accelerator.KVM)
            _say(f"up after {time.monotonic() - started:.0f} s")
            return vm.run(argv)
    raise OperatorError(
        f"the VM with {image} did not boot: {problem}",
        status=ExitStatus.UNSUPPORTED,
        hint=f"the console's log is {CONSOLE_LOG}",
    )


def _kvm_key() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.release()} {boot_id}"


def _kvm_verdict() -> bool | None:
    """Return what a trial boot on this host has shown, ``None`` before there was one."""
    try:
        noted = json.loads((CACHE / "kvm.json").read_text())
    except (OSError, ValueError):
        return None
    return bool(noted["works"]) if noted.get("host") == _kvm_key() else None


def _note_kvm_verdict(*, works: bool) -> None:
    with contextlib.suppress(OSError):  # a checkout that is not ours to write to: no note
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "kvm.json").write_text(json.dumps({"host": _kvm_key(), "works": works}))


def _compile() -> None:
    """Have the bytecode of all our modules: the VM cannot write it, and would do it every time."""
    # Where it cannot be written here either, the VM is slow, and that is all.
    compileall.compile_dir(Path(__file__).parents[1], quiet=2)


def _sweep() -> None:
    """Remove the folders of runs that were killed outright. Their VMs stop by themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{WORK_PREFIX}*"):
        owner = folder.name.removeprefix(WORK_PREFIX).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
