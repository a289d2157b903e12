"""What all tests share: where they can run, and the laboratory."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from lvskeeper.lab.kernels import ipvs_is_here, lab_kernel
from lvskeeper.lab.topology import Laboratory

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


def measures_time(item: pytest.Item) -> bool:
    """Whether *item* may be one that waits for timers and judges what came when."""
    return "daemon" in item.path.parts or item.get_closest_marker("root") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Side by side (pytest -n): the files that wait for timers are begun first and share few
    # workers, and the other ones, each for itself, keep the processors busy.
    waiting = list(dict.fromkeys(item.path for item in items if measures_time(item)))
    items.sort(key=lambda item: item.path not in waiting)
    for item in items:
        group = str(item.path)
        if item.path in waiting:
            group = f"waiting {waiting.index(item.path) % WAITING_GROUPS}"
        item.add_marker(pytest.mark.xdist_group(group))
    reasons: dict[tuple[bool, bool], str] = {}
    for item in items:
        root, ipvs = (item.get_closest_marker(name) is not None for name in ("root", "ipvs"))
        if (root, ipvs) not in reasons:
            reasons[root, ipvs] = why_not(root=root, ipvs=ipvs)
        if reason := reasons[root, ipvs]:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0 if measures_time(item) else MODEST)


def pytest_report_header() -> str:
    return f"laboratory: {lab_kernel()}"


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    """A client, a director, a router and three real servers; needs root."""
    with Laboratory() as made:
        yield made
