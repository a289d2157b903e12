"""Sysctls that are changed while somebody needs them, and put back after the last one."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from lvskeeper.kernel.sysctls import ROOT, Finding, Requirement, State, ensure

CONSEQUENCE: Final = "it keeps the value that VRRP needed"


@final
@dataclass(slots=True)
class _Held:
    wanted: int
    before: str = ""
    """The value to put back; nothing where it was as wanted."""
    holders: set[str] = field(default_factory=set)


@final
class HeldSysctls:
    """Remembers for each sysctl who needs it, and what it was before the first one came.

    After a crash it is not known what was before: then the sysctls stay as they are.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root: Final = root
        self._held: Final[dict[str, _Held]] = {}

    def hold(self, holder: str, requirements: Iterable[Requirement]) -> list[Finding]:
        """Set what *holder* needs, in this order; return what became of each.

        Nothing is raised, and what failed is tried again with the next hold of the same sysctl.
        """
        findings = ensure(requirements, set_allowed=True, root=self._root)
        for finding in findings:
            name, wanted = finding.requirement.name, finding.requirement.wanted
            held = self._held.setdefault(name, _Held(wanted))
            held.holders.add(holder)
            if finding.state is State.SET:
                held.before = held.before or finding.found
        return findings

    def release(self, holder: str) -> list[Finding]:
        """Put back what *holder* was the last to need, newest first; return what that came to.

        What somebody else has changed meanwhile, or is gone with its interface, is let be.
        """
        findings: list[Finding] = []
        for name in reversed(tuple(self._held)):
            held = self._held[name]
            held.holders.discard(holder)
            if held.holders:
                continue
            del self._held[name]
            if held.before and self._read(name) == str(held.wanted):
                back = Requirement(name, int(held.before), CONSEQUENCE)
                findings += ensure([back], set_allowed=True, root=self._root)
        return findings

    def _read(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return (self._root / name).read_text(encoding="ascii").strip()
        return ""
