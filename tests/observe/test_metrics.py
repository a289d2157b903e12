"""Metrics: what is read off incidents, and that docs, alerts and dashboard name what there is."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.incidents import Incident

from lvskeeper.health.spec import Phase
from lvskeeper.kernel.ipvs_proc import Backend, IpvsTraffic, Totals
from lvskeeper.observe import metrics_reference, monitoring
from lvskeeper.observe.exposition import expose
from lvskeeper.observe.metric import Facts, Kind, Suite
from lvskeeper.observe.metrics import METRICS
from lvskeeper.observe.snapshot import Problem, Snapshot

ROOT = Path(__file__).parents[2]
SERVER = "198.51.100.1:8080"
TRAFFIC = IpvsTraffic(
    (
        Backend("TCP", "192.0.2.100", 80, "", "198.51.100.1", 8080, 2, 17, 4),
        Backend("FWM", "", 0, "0000000A", "198.51.100.3", 0, 1, 3, 0),
    ),
    Totals(1, 2, 3, 4, 5),
)

Scraped = dict[tuple[str, frozenset[str]], float]


def scrape(snapshot: Snapshot, now: float, *suites: Suite) -> Scraped:
    text = expose(Facts(snapshot, now, TRAFFIC), suites or (Suite.OWN,)).decode()
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(scraped: Scraped, name: str, *labels: str) -> float | None:
    return scraped.get((name, frozenset(labels)))


async def incident() -> Incident:
    it = Incident()
    it.script("chk", well=True)
    it.wait(5)
    for _ in range(3):
        it.probe(SERVER, Phase.CONNECT, "connection refused", 0.002)
        it.wait(1)
    return it


@pytest.mark.asyncio
async def test_values_of_an_incident() -> None:
    it = await incident()
    seen = scrape(await it.snapshot(), it.now + 0.25)
    assert value(seen, "lvskeeper_vrrp_state", "one", "MASTER") == 1
    assert value(seen, "lvskeeper_vrrp_state", "one", "BACKUP") == 0
    assert value(seen, "lvskeeper_vrrp_became_master_total", "one") == 1
    assert value(seen, "lvskeeper_vrrp_track_well", "one", "script chk") == 1
    name = "tcp 192.0.2.100:80"
    assert value(seen, "lvskeeper_real_server_up", name, SERVER) == 0
    assert value(seen, "lvskeeper_virtual_server_live_weight", name) == 1
    assert value(seen, "lvskeeper_virtual_server_state", name, "up") == 1
    assert value(seen, "lvskeeper_probes_total", "TCP_CHECK", "bad") == 3
    assert value(seen, "lvskeeper_probe_duration_seconds_bucket", "TCP_CHECK", "0.001") == 0
    assert value(seen, "lvskeeper_probe_duration_seconds_bucket", "TCP_CHECK", "0.005") == 3
    assert value(seen, "lvskeeper_probe_duration_seconds_sum", "TCP_CHECK") == pytest.approx(0.006)
    assert value(seen, "lvskeeper_view_age_seconds", "router") == pytest.approx(0.25)
    assert value(
        seen, "lvskeeper_real_server_connections", "tcp", "192.0.2.100:80", SERVER, "active"
    ) == 17  # fmt: skip
    assert value(
        seen, "lvskeeper_real_server_connections", "fwm", "fwmark 10", "198.51.100.3:0", "active"
    ) == 3  # fmt: skip


@pytest.mark.asyncio
async def test_a_role_that_does_not_answer_is_0_and_its_states_are_absent() -> None:
    it = await incident()
    whole = await it.snapshot()
    problem = Problem("unavailable", "no router role runs")
    seen = scrape(Snapshot(whole.daemon, whole.director, None, (problem,)), it.now)
    assert value(seen, "lvskeeper_role_answers", "router") == 0
    assert value(seen, "lvskeeper_role_answers", "director") == 1
    assert not [name for name, _ in seen if name.startswith("lvskeeper_vrrp_")]


@pytest.mark.asyncio
async def test_names_of_other_exporters_come_when_they_are_asked_for() -> None:
    it = await incident()
    snapshot = await it.snapshot()
    assert not [n for n, _ in scrape(snapshot, it.now) if not n.startswith("lvskeeper_")]
    seen = scrape(snapshot, it.now, Suite.KEEPALIVED, Suite.NODE)
    assert value(seen, "keepalived_up") == 1
    assert value(seen, "keepalived_vrrp_state", "one", "eth0", "51", "192.0.2.100") == 2
    assert value(seen, "keepalived_become_master_total", "one", "eth0", "51") == 1
    assert value(seen, "keepalived_script_status", "chk") == 1
    assert value(seen, "node_ipvs_connections_total") == 1
    labels = ("192.0.2.100", "80", "198.51.100.1", "8080", "TCP", "")
    assert value(seen, "node_ipvs_backend_connections_active", *labels) == 17


def test_names_follow_the_customs_of_prometheus() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER), metric.name
        assert not {"instance", "job", "le"} & set(metric.labels), metric.name


def test_the_page_is_generated_from_the_metrics() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == metrics_reference.render(), (
        "renew it: python -m lvskeeper.observe.metrics_reference > docs/metrics.md"
    )


def test_alerts_and_dashboard_are_generated_and_name_only_what_there_is() -> None:
    folder = ROOT / "packaging/monitoring"
    renew = "renew them: python -m lvskeeper.observe.monitoring packaging/monitoring"
    assert (folder / monitoring.RULES).read_text() == monitoring.rules(), renew
    assert (folder / monitoring.DASHBOARD).read_text() == monitoring.dashboard(), renew
    rules = json.loads(monitoring.rules())["groups"][0]["rules"]
    panels = json.loads(monitoring.dashboard())["panels"]
    exprs = [rule["expr"] for rule in rules]
    exprs += [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(exprs) > 20
    for expr in exprs:
        assert "lvskeeper_" in expr
        assert not monitoring.unknown_names(expr), expr


def test_a_name_that_does_not_exist_is_found() -> None:
    assert monitoring.unknown_names("rate(lvskeeper_vrrp_late_totals[5m]) > 0") == {
        "lvskeeper_vrrp_late_totals"
    }


def test_alerts_name_only_labels_that_their_metrics_have() -> None:
    labels = {label for metric in METRICS for label in metric.labels} | {"instance", "job"}
    for alert in monitoring.ALERTS:
        used = {part.split(" }}")[0] for part in alert.summary.split("{{ $labels.")[1:]}
        assert used <= labels, alert.name
