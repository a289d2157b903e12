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


def why_not(*, root: bool, ipvs: bool) -> str:
    """Return why a test with these needs cannot run here, or nothing."""
    if (root or ipvs) and os.geteuid() != 0:
        return "needs root"
    if ipvs and not ipvs_is_here():
        return f"needs ip_vs, which {lab_kernel()} has not: python -m lvskeeper.lab run -- pytest"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those in namespaces wait most of their time: begun first, they leave the processors to others
    items.sort(key=lambda item: item.get_closest_marker("root") is None)
    reasons: dict[tuple[bool, bool], str] = {}
    for item in items:
        root, ipvs = (item.get_closest_marker(name) is not None for name in ("root", "ipvs"))
        if (root, ipvs) not in reasons:
            reasons[root, ipvs] = why_not(root=root, ipvs=ipvs)
        if reason := reasons[root, ipvs]:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_report_header() -> str:
    return f"laboratory: {lab_kernel()}"


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    """A client, a director, a router and three real servers; needs root."""
    with Laboratory() as made:
        yield made
