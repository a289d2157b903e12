"""TCP_CHECK: find out whether a connection can be made."""

from collections.abc import Iterator

from lvskeeper.health.spec import CheckSpec
from lvskeeper.probes.stream import Step


def tcp_steps(spec: CheckSpec) -> Iterator[Step]:
    """Return the one step: connect to the address and port of *spec*."""
    return iter((Step(spec.address, spec.port, spec.source, spec.connect_timeout),))
