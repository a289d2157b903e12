"""All metrics: the single source of what ``/metrics`` serves, of the docs, alerts and dashboard."""

from collections.abc import Iterable
from typing import Final

from lvskeeper.observe.metric import Facts, Kind, Metric, Sample, one
from lvskeeper.observe.metrics_compat import COMPAT_METRICS
from lvskeeper.observe.metrics_services import SERVICE_METRICS
from lvskeeper.observe.metrics_vrrp import VRRP_METRICS
from lvskeeper.observe.snapshot import RoleView

ROLES: Final = ("director", "router")


def _info(facts: Facts) -> Iterable[Sample]:
    daemon = facts.snapshot.daemon
    yield (daemon.version, daemon.file), 1.0


def _answers(facts: Facts) -> Iterable[Sample]:
    """Tell whether roles that have to be there answered."""
    snapshot = facts.snapshot
    for name, view in zip(ROLES, (snapshot.director, snapshot.router), strict=True):
        silent = any(name in problem.message for problem in snapshot.problems)
        if view is not None or silent:
            yield (name,), float(view is not None)


def _view_ages(facts: Facts) -> Iterable[Sample]:
    snapshot = facts.snapshot
    for name, view in zip(ROLES, (snapshot.director, snapshot.router), strict=True):
        if view is not None:
            yield (name,), max(0.0, facts.now - view.taken)


def _role_ages(facts: Facts) -> Iterable[Sample]:
    return ((labels, age) for labels, role in _roles(facts) if (age := role.age) is not None)


def _beat_ages(facts: Facts) -> Iterable[Sample]:
    return ((labels, age) for labels, role in _roles(facts) if (age := role.beat_age) is not None)


def _roles(facts: Facts) -> Iterable[tuple[tuple[str, ...], RoleView]]:
    return (((role.name,), role) for role in facts.snapshot.daemon.roles)


DAEMON_METRICS: Final = (
    Metric(
        "lvskeeper_info",
        "1, with the version of the daemon and its configuration file.",
        ("version", "file"),
        _info,
    ),
    Metric(
        "lvskeeper_uptime_seconds",
        "Time since the daemon's start.",
        (),
        lambda facts: one(facts.snapshot.daemon.age),
    ),
    Metric(
        "lvskeeper_configuration_generation",
        "Number of what was applied last; it grows with every application to a role.",
        (),
        lambda facts: one(facts.snapshot.daemon.generation),
    ),
    Metric(
        "lvskeeper_configuration_age_seconds",
        "Time since a configuration was last applied.",
        (),
        lambda facts: one(facts.snapshot.daemon.applied_age),
    ),
    Metric(
        "lvskeeper_role_answers",
        "1 where a role that has to be there answered this very scrape, else 0. All that it does "
        "not tell is absent then.",
        ("role",),
        _answers,
    ),
    Metric("lvskeeper_role_uptime_seconds", "Time since a role's start.", ("role",), _role_ages),
    Metric(
        "lvskeeper_role_beat_age_seconds",
        "Time since a role's last sign of life; it gives one a second.",
        ("role",),
        _beat_ages,
    ),
    Metric(
        "lvskeeper_view_age_seconds",
        "Age of what a role told for this scrape.",
        ("role",),
        _view_ages,
    ),
)

METRICS: Final = (*DAEMON_METRICS, *VRRP_METRICS, *SERVICE_METRICS, *COMPAT_METRICS)


def series_of(metric: Metric) -> tuple[str, ...]:
    """Return the names under which the series of *metric* are stored."""
    if metric.kind is Kind.HISTOGRAM:
        return tuple(f"{metric.name}_{suffix}" for suffix in ("bucket", "sum", "count"))
    return (metric.name,)
