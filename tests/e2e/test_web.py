"""The read-only page, metrics and health of a daemon that runs VRRP, on a unix socket."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import scraping
from support.commands import command
from support.scraping import get
from support.vrrp_lan import wait_until
from support.vrrp_site import Site, instance, site

from lvskeeper.daemon.web import open_web
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe.metric import Suite
from lvskeeper.observe.metrics import METRICS, series_of

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("web")
    with site(folder, instance(priority=150)) as made:
        made.daemon.options.extend(["--web", f"unix:{web(folder)}"])
        made.daemon.start()
        made.wait("MASTER")
        yield made


def web(folder: Path) -> Path:
    return folder / "web.sock"


def page(running: Site) -> Path:
    return web(running.daemon.run_dir.parent)


def scrape(path: Path, query: str = "") -> dict[tuple[str, frozenset[str]], float]:
    return {
        (name, frozenset(labels.values())): value
        for name, samples in scraping.scrape(path, query).items()
        for labels, value in samples
    }


def test_the_page_and_what_it_needs_come_from_here_alone(running: Site) -> None:
    for what, kind in (("/", "html"), ("/status.js", "javascript"), ("/status.css", "css")):
        status, headers, body = get(page(running), what)
        assert status == 200
        assert kind in headers["Content-Type"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"http://" not in body
        assert b"https://" not in body


def test_the_json_beside_it_is_the_snapshot(running: Site) -> None:
    status, headers, body = get(page(running), "/status.json")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert json.loads(body)["router"]["instances"][0]["state"] == "MASTER"


def test_it_is_read_only_and_for_localhost_alone(running: Site) -> None:
    assert get(page(running), "/status.json", "POST")[0] == 405
    assert get(page(running), "/v1/snapshot")[0] == 404
    assert get(page(running), "/status.json", host="evil.example")[0] == 403
    assert get(page(running), "/status.json", host="[::1]:9650")[0] == 200


def test_metrics_on_both_sockets(running: Site) -> None:
    for path in (page(running), running.daemon.run_dir / "control.sock"):
        seen = scrape(path)
        assert seen["lvskeeper_vrrp_state", frozenset({"one", "MASTER"})] == 1
        assert seen["lvskeeper_vrrp_adverts_sent_total", frozenset({"one"})] > 0
        assert seen["lvskeeper_role_answers", frozenset({"router"})] == 1
    assert "keepalived_up" not in {name for name, _ in scrape(page(running))}
    both = scrape(page(running), "?names=keepalived,node")
    assert both["keepalived_up", frozenset()] == 1
    assert get(page(running), "/metrics?names=snmp")[0] == 400


def test_every_metric_that_is_told_is_documented(running: Site) -> None:
    known = {name for metric in METRICS for name in series_of(metric)}
    assert {metric.suite for metric in METRICS} == set(Suite)
    told = {name for name, _ in scrape(page(running), "?names=keepalived,node")}
    assert len(told) > 30
    assert told <= known


def test_values_follow_a_fault_and_its_end(running: Site) -> None:
    before = scrape(page(running))
    fault, won = frozenset({"one", "FAULT"}), frozenset({"one"})
    running.lan.ours.ip("link set eth0 down")
    wait_until(
        lambda: scrape(page(running))["lvskeeper_vrrp_state", fault] == 1, lambda: "no fault"
    )
    assert scrape(page(running))["lvskeeper_vrrp_faults", won] == 1
    running.lan.ours.ip("link set eth0 up")
    master = ("lvskeeper_vrrp_state", frozenset({"one", "MASTER"}))
    wait_until(lambda: scrape(page(running))[master] == 1, lambda: "no master")
    after = scrape(page(running))
    for name in ("lvskeeper_vrrp_became_master_total", "lvskeeper_vrrp_released_master_total"):
        assert after[name, won] == before[name, won] + 1


def test_a_stuck_role_is_not_ready(running: Site) -> None:
    assert get(page(running), "/readyz")[::2] == (200, b"ok\n")
    assert get(page(running), "/healthz")[::2] == (200, b"ok\n")
    frozen = running.daemon.freeze(running.daemon.role("router"))
    try:
        status, _, body = get(page(running), "/readyz")
        assert status == 503
        assert b"the router role did not answer" in body
        seen = scrape(page(running))
        assert seen["lvskeeper_role_answers", frozenset({"router"})] == 0
        assert not [name for name, _ in seen if name.startswith("lvskeeper_vrrp")]
    finally:
        running.daemon.thaw(frozen)
    wait_until(lambda: get(page(running), "/readyz")[0] == 200, lambda: "not ready again")


def test_a_textfile_for_node_exporter_is_emptied_where_no_daemon_answers(
    running: Site, tmp_path: Path
) -> None:
    file = tmp_path / "lvskeeper.prom"
    options = ("--textfile", file, "--names", "keepalived")
    assert command("metrics", "--run-dir", running.daemon.run_dir, *options).status == 0
    assert 'lvskeeper_vrrp_state{state="MASTER",vrrp_instance="one"} 1.0' in file.read_text()
    assert "keepalived_up 1.0" in file.read_text()
    gone = command("metrics", "--run-dir", tmp_path, *options)
    assert gone.status == ExitStatus.NO_DAEMON
    assert file.read_text() == ""


@pytest.mark.parametrize("where", ["0.0.0.0:9650", "192.0.2.1:9650", "9650", "unix:web.sock", "x"])
def test_it_listens_on_no_network(where: str) -> None:
    with pytest.raises(OperatorError, match="neither a loopback address with a port nor unix:/"):
        open_web(where)


def test_a_place_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OperatorError, match="Address already in use"):
            open_web(where)
