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
"""Environment: path of a kernel image; its use is forced, even where the running one would do."""
VM_VARIABLE: Final = "LVSKEEPER_VM"
"""Environment inside the VM: how it runs (``emulation`` or ``KVM``)."""

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


def _version(path: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", path.name)]


def find_kernel_image() -> Path:
    """Return the kernel image that the VM boots: the one that is named, else Debian's newest.

    Raises :class:`OperatorError` where there is none that has ip_vs among its modules.
    """
    if named := os.environ.get(KERNEL_VARIABLE):
        image = Path(named)
        if not image.is_file():
            raise OperatorError(
                f"{KERNEL_VARIABLE} names {named}, which is not a file",
                status=ExitStatus.UNSUPPORTED,
                hint="give the path of a kernel image, such as /boot/vmlinuz-6.1.0-56-amd64",
            )
        return image.resolve()
    for image in sorted(Path("/boot").glob("vmlinuz-*"), key=_version, reverse=True):
        modules = Path("/lib/modules", image.name.removeprefix("vmlinuz-"))
        if os.access(image, os.R_OK) and next(modules.rglob("ip_vs.ko*"), None):
            return image
    raise OperatorError(
        "no readable kernel image in /boot comes with the module ip_vs",
        status=ExitStatus.UNSUPPORTED,
        hint="apt-get install linux-image-amd64 (it is only booted in the VM, never installed"
        " as this machine's boot choice by us)",
    )
