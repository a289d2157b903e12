"""What a director left in the kernel, kept in the runtime directory over restarts.

Only what stands here, or in the configuration, is ever removed from the kernel.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper.daemon.roles import LocalAddressSpec
from lvskeeper.ipvs.types import ServiceKey

_FILE: Final = "director.json"


@final
@dataclass(frozen=True, slots=True)
class OwnedState:
    """The director's possessions in the kernel."""

    services: tuple[ServiceKey, ...] = ()
    addresses: tuple[LocalAddressSpec, ...] = ()
    """LIPs that the director itself put on a device."""


@final
class StateFile:
    """Keeps :class:`OwnedState` in ``director.json`` of the runtime directory."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / _FILE
        self._saved: OwnedState | None = None

    def load(self) -> OwnedState:
        """Return the saved state; an absent or damaged file is an empty one.

        Empty is the safe reading: nothing is then removed that the configuration does not name.
        """
        try:
            self._saved = msgspec.json.decode(self._path.read_bytes(), type=OwnedState)
        except (FileNotFoundError, msgspec.DecodeError):
            self._saved = None
        return self._saved or OwnedState()

    def save(self, state: OwnedState) -> None:
        """Write *state* so that a crash leaves either the old or the new file."""
        if state == self._saved:
            return
        draft = self._path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._saved = state
