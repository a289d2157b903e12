"""Which kernel serves the laboratory: the running one where it has ip_vs, else one for a VM."""

import os
import platform
import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Final

from lvskeeper.errors import ExitStatus, OperatorError

KERNEL_VARIABLE: Final = "LVSKEEPER_KERNEL"
"""Environment: the kernel for the VM: ``oldest`` or ``newest`` of those that are here, or the path
of an image. It forces the VM, even where the running kernel would do."""
VM_VARIABLE: Final = "LVSKEEPER_VM"
"""Environment inside the VM: how it runs (``emulation`` or ``KVM``)."""

FETCHED: Final = Path(__file__).resolve().parents[2] / ".cache" / "kernels"
"""Where ``packaging/kernel.sh`` unpacks a kernel of Debian's that is not installed."""
WHERE_FROM: Final = (
    "apt-get install linux-image-amd64, or packaging/kernel.sh for a newer one (both are only"
    " booted in the VM, never made this machine's boot choice by us)"
)

NETLINK_GENERIC: Final = 16
GENL_ID_CTRL: Final = 16
CTRL_CMD_GETFAMILY: Final = 3
CTRL_ATTR_FAMILY_NAME: Final = 2
NLM_F_REQUEST: Final = 1
NLMSG_ERROR: Final = 2


def ipvs_is_here() -> bool:
    """Return whether this very kernel offers IPVS to us (root, and the netlink family IPVS).

    Asks for the module first. A kernel image named by ``LVSKEEPER_KERNEL`` says that another one
    is wanted, so then the answer is no, except inside the VM itself.
    """
    if os.geteuid() != 0:
        return False
    if os.environ.get(KERNEL_VARIABLE) and not inside_vm():
        return False
    if not has_ipvs_family() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "ip_vs"], check=False, capture_output=True)
    return has_ipvs_family()


def has_ipvs_family() -> bool:
    """Return whether generic netlink knows a family IPVS (include/uapi/linux/genetlink.h)."""
    name = b"IPVS\0"
    attribute = struct.pack("=HH", 4 + len(name), CTRL_ATTR_FAMILY_NAME) + name
    attribute += bytes(-len(attribute) % 4)
    body = struct.pack("=BBH", CTRL_CMD_GETFAMILY, 2, 0) + attribute
    header = struct.pack("=IHHII", 16 + len(body), GENL_ID_CTRL, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as sock:
        sock.settimeout(5)
        sock.send(header + body)
        _, kind = struct.unpack_from("=IH", sock.recv(65536))
    return int(kind) != NLMSG_ERROR


def inside_vm() -> bool:
    """Return whether we run in the laboratory's own VM."""
    return VM_VARIABLE in os.environ


def lab_kernel() -> str:
    """Say where we run: ``this kernel, 6.12.3``, ``a VM with 6.1.0-56-amd64 under emulation``."""
    release = platform.release()
    match os.environ.get(VM_VARIABLE):
        case None:
            return f"this kernel, {release}"
        case "KVM":
            return f"a VM with {release} under KVM"
        case how:
            return f"a VM with {release} under {how}"


def kernel_images() -> list[Path]:
    """Return the kernel images here that come with the module ip_vs, the oldest first."""
    roots = [Path("/"), *FETCHED.glob("[0-9]*")]
    found = [image for root in roots for image in root.glob("boot/vmlinuz-*") if _serves(image)]
    return sorted(found, key=_version)


def kernel_release(image: Path) -> str:
    """Return the release that the name of *image* tells: ``6.1.0-56-amd64``."""
    return image.name.removeprefix("vmlinuz-")


def _serves(image: Path) -> bool:
    modules = image.parents[1] / "lib/modules" / kernel_release(image)
    return os.access(image, os.R_OK) and next(modules.rglob("ip_vs.ko*"), None) is not None


def _version(image: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", image.name)]


def find_kernel_image() -> Path:
    """Return the kernel image that the VM boots: the one that is asked for, else an installed one.

    Raises :class:`OperatorError` where there is none that has ip_vs among its modules.
    """
    wanted = os.environ.get(KERNEL_VARIABLE, "")
    if wanted not in ("", "oldest", "newest"):
        return _named(Path(wanted))
    images = kernel_images()
    if not images:
        raise OperatorError(
            f"no readable kernel image in /boot or {FETCHED} comes with the module ip_vs",
            status=ExitStatus.UNSUPPORTED,
            hint=WHERE_FROM,
        )
    installed = [image for image in images if image.parent == Path("/boot")]
    match wanted:
        case "oldest":
            return images[0]
        case "newest":
            return images[-1]
        case _:
            return (installed or images)[-1]


def _named(image: Path) -> Path:
    if not image.is_file():
        raise OperatorError(
            f"{KERNEL_VARIABLE} names {image}, which is not a file",
            status=ExitStatus.UNSUPPORTED,
            hint="say oldest, newest, or the path of an image: /boot/vmlinuz-6.1.0-56-amd64",
        )
    return image.resolve()
