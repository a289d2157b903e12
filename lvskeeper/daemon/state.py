"""What a director left in the kernel, kept in the runtime directory over restarts.

Only what stands here, or in the configuration, is ever removed from the kernel.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper.daemon.roles import LocalAddressSpec
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.types import DestKey, ServiceKey

_FILE: Final = "director.json"


@final
@dataclass(frozen=True, slots=True)
class Past:
    """What a director knew of a virtual server that the kernel's table cannot tell."""

    had_quorum: bool
    servers: tuple[DestKey, ...]
    """Its real servers then. One that is missing in the table is down; a new one is just new."""


@final
@dataclass(frozen=True, slots=True)
class OwnedState:
    """The director's possessions in the kernel, and what it knew of health."""

    services: tuple[ServiceKey, ...] = ()
    addresses: tuple[LocalAddressSpec, ...] = ()
    """LIPs that the director itself put on a device."""
    past: dict[str, Past] = field(default_factory=dict)
    """By virtual server."""
    vips: tuple[LocalAddressSpec, ...] = ()
    """Virtual addresses that the director put on a device (``vip_bind_dev``)."""


@final
@dataclass(frozen=True, slots=True)
class _Saved:
    kernel: str
    """The boot and the network namespace that the state is about."""
    state: OwnedState


@final
class StateFile:
    """Keeps :class:`OwnedState` in ``director.json`` of the runtime directory."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / _FILE
        self._saved: OwnedState | None = None

    def load(self) -> OwnedState:
        """Return the saved state; an absent, damaged or foreign file is an empty one.

        Empty is the safe reading: nothing is then removed that the configuration does not name.
        Foreign is what was written before a reboot or in another network namespace. Raises
        :class:`OperatorError` where the file is there and cannot be read.
        """
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except (FileNotFoundError, msgspec.DecodeError):
            return OwnedState()
        except OSError as error:
            raise OperatorError(
                f"{self._path}: {error.strerror}",
                status=ExitStatus.PERMISSION,
                hint="Run as the user of the daemon, root usually.",
            ) from error
        if saved.kernel != this_kernel():
            return OwnedState()
        self._saved = saved.state
        return saved.state

    def holds(self, state: OwnedState) -> bool:
        """Return whether this very *state* is what the last :meth:`save` wrote or found there."""
        return state is self._saved

    def save(self, state: OwnedState) -> None:
        """Write *state* so that a crash leaves either the old or the new file.

        Raises :class:`OperatorError` where it cannot be written.
        """
        if state == self._saved:
            self._saved = state
            return
        write_whole(self._path, msgspec.json.encode(_Saved(this_kernel(), state)))
        self._saved = state


def write_whole(path: Path, content: bytes) -> None:
    """Write *content* so that a crash leaves either the old or the new file at *path*.

    Raises :class:`OperatorError` where it cannot be written.
    """
    draft = path.with_suffix(".new")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise OperatorError(
            f"{path}: {error.strerror}",
            status=ExitStatus.KERNEL,
            hint="The runtime directory must be writable and have room; /run is usual.",
        ) from error


def this_kernel() -> str:
    """Return what names the boot and the network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
