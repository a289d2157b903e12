"""Generates docs/metrics.md: ``python -m lvskeeper.observe.metrics_reference``."""

from lvskeeper.observe.metric import Metric, Suite
from lvskeeper.observe.metrics import METRICS

_HEAD = """\
# Metrics

Generated from `lvskeeper/observe/metrics.py`; names and labels are stable. They are served at
`/metrics` of the control socket, and by `lvskeeper run --web` on loopback or another unix socket:

    curl --unix-socket /run/lvskeeper/control.sock http://lvskeeper/metrics

`lvskeeper metrics` prints them, and `lvskeeper metrics --textfile FILE` writes them for the
collector `textfile` of node_exporter. The names of keepalived-exporter and of node_exporter are
added by `?names=keepalived,node` (`params` in the configuration of Prometheus), or by
`lvskeeper metrics --names keepalived,node`.

Every scrape asks the roles anew. What a role does not answer is absent, and then
`lvskeeper_role_answers` is 0: who alerts on a state has to alert on that as well. Alert rules and a
dashboard for Grafana are in `packaging/monitoring`.
"""

_TITLES = {
    Suite.OWN: "## lvskeeper's own",
    Suite.KEEPALIVED: "## Names of keepalived-exporter (`names=keepalived`)",
    Suite.NODE: "## Names of node_exporter's ipvs collector (`names=node`)",
}


def render() -> str:
    """Return the page."""
    parts = [_HEAD]
    for suite, title in _TITLES.items():
        rows = [_row(metric) for metric in METRICS if metric.suite is suite]
        table = ["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *rows]
        parts.append("\n".join([title, "", *table, ""]))
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - it is a generator
