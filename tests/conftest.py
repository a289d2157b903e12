"""What all tests share: where they can run, and the laboratory."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import final

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from lvskeeper.lab.kernels import ipvs_is_here, lab_kernel
from lvskeeper.lab.topology import Laboratory

# Their assertions tell what they compared, as those of the tests do
pytest.register_assert_rewrite("support")

# The time of one example says more about the load of the machine, or its emulation, than about us
settings.register_profile("lvskeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lvskeeper")


WAITING_GROUPS = 2
"""How many files that wait for timers may run at the same time."""
MODEST = 10
"""Niceness of those that do not, so that they delay nothing that is timed."""


def why_not(*, root: bool, ipvs: bool) -> str:
    """Return why a test with these needs cannot run here, or nothing."""
    if (root or ipvs) and os.geteuid() != 0:
        return "needs root"
    if ipvs and not ipvs_is_here():
        return f"needs ip_vs, which {lab_kernel()} has not: python -m lvskeeper.lab run -- pytest"
    return ""


@cache
def measures_time(file: Path) -> bool:
    """Whether tests in *file* may wait for timers and judge what came when."""
    return "daemon" in file.parts or "mark.root" in file.read_text()


@final
class FilesApart(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Gives whole files to workers, and those that measure time to few workers at a time."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        self._scopes: dict[str, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0]
        if not measures_time(self.config.rootpath / name):
            return name
        # In turn, so that all groups have about as many
        return self._scopes.setdefault(name, f"waiting {len(self._scopes) % WAITING_GROUPS}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesApart:
    return FilesApart(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Side by side (pytest -n): what waits for timers is begun first, and the other files keep the
    # processors busy.
    items.sort(key=lambda item: not measures_time(item.path))
    reasons: dict[tuple[bool, bool], str] = {}
    for item in items:
        root, ipvs = (item.get_closest_marker(name) is not None for name in ("root", "ipvs"))
        if (root, ipvs) not in reasons:
            reasons[root, ipvs] = why_not(root=root, ipvs=ipvs)
        if reason := reasons[root, ipvs]:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0 if measures_time(item.path) else MODEST)


def pytest_report_header() -> str:
    return f"laboratory: {lab_kernel()}"


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    """A client, a director, a router and three real servers; needs root."""
    with Laboratory() as made:
        yield made
