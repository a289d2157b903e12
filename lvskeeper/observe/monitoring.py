"""Generates alert rules and the dashboard in packaging/monitoring, from what metrics there are.

``python -m lvskeeper.observe.monitoring DIRECTORY`` writes both. Both forms are JSON, which is
YAML as well; Prometheus reads it.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.observe.metric import Suite
from lvskeeper.observe.metrics import METRICS, series_of

RULES: Final = "lvskeeper.rules.yml"
DASHBOARD: Final = "lvskeeper-dashboard.json"

_NAME: Final = re.compile(r"\b(?:lvskeeper|keepalived|node_ipvs)_[a-z0-9_]+\b")


@final
@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: when, for how long, how bad, and what to tell."""

    name: str
    expr: str
    lasts: str
    severity: str
    summary: str
    do: str


ALERTS: Final = (
    Alert(
        "LvskeeperGone", 'absent(lvskeeper_info) or up{job=~".*lvskeeper.*"} == 0', "1m",
        "critical", "No lvskeeper answers.",
        "Look at `systemctl status lvskeeper` and its log.",
    ),
    Alert(
        "LvskeeperRoleSilent", "lvskeeper_role_answers == 0", "30s", "critical",
        "The {{ $labels.role }} role does not answer: what it serves is unknown.",
        "The supervisor starts a stuck role anew; its log tells why it was stuck.",
    ),
    Alert(
        "LvskeeperNoMaster",
        'max by (vrid, interface) (lvskeeper_vrrp_state{state="MASTER"} '
        "* on (instance, job, vrrp_instance) group_left (vrid, interface) lvskeeper_vrrp_info) "
        "== 0", "15s", "critical",
        "Nobody is MASTER of VRID {{ $labels.vrid }} on {{ $labels.interface }}.",
        "`lvskeeper explain instance NAME` on each director tells what keeps it from it.",
    ),
    Alert(
        "LvskeeperTwoMasters", "lvskeeper_vrrp_contention_seconds > 5", "0s", "critical",
        "{{ $labels.vrrp_instance }} hears two masters: the addresses are in two places.",
        "`lvskeeper explain instance NAME` names both; look for a link that works one way only.",
    ),
    Alert(
        "LvskeeperInstanceFault", 'lvskeeper_vrrp_state{state="FAULT"} == 1', "30s", "warning",
        "VRRP instance {{ $labels.vrrp_instance }} is in FAULT, and cannot take over.",
        "`lvskeeper explain instance NAME` names the faults and what heals them.",
    ),
    Alert(
        "LvskeeperFlapping", "increase(lvskeeper_vrrp_became_master_total[15m]) > 3", "0s",
        "warning", "VRRP instance {{ $labels.vrrp_instance }} became master again and again.",
        "`lvskeeper events -e vrrp_state_changed` tells the cause of each transition.",
    ),
    Alert(
        "LvskeeperLate", "increase(lvskeeper_vrrp_late_total[10m]) > 2", "0s", "warning",
        "The router role of {{ $labels.vrrp_instance }} came late to its timers.",
        "The machine stands still at times: vrrp_rt_priority, snapshots of the VM, memory.",
    ),
    Alert(
        "LvskeeperNoPeer",
        "lvskeeper_vrrp_peer_age_seconds > 60 and on (instance, job, vrrp_instance) "
        'lvskeeper_vrrp_state{state="BACKUP"} == 1', "1m", "warning",
        "{{ $labels.vrrp_instance }} has not heard {{ $labels.peer }} for a minute.",
        "Is the peer there, and do its adverts arrive?",
    ),
    Alert(
        "LvskeeperAddressesRemoved", "increase(lvskeeper_vrrp_holdings_lost_total[10m]) > 0", "0s",
        "warning", "Somebody else removed addresses of {{ $labels.vrrp_instance }}; they are back.",
        "`lvskeeper doctor` looks for networkd and NetworkManager settings that do it.",
    ),
    Alert(
        "LvskeeperVirtualServerDown", 'lvskeeper_virtual_server_state{state="down"} == 1', "15s",
        "critical", "Nobody serves {{ $labels.virtual_server }}.",
        "`lvskeeper explain vs NAME` tells why each of its real servers is out.",
    ),
    Alert(
        "LvskeeperQuorumLost", "lvskeeper_virtual_server_quorum == 0", "30s", "critical",
        "{{ $labels.virtual_server }} has lost its quorum.",
        "`lvskeeper explain vs NAME` tells which real servers are missing.",
    ),
    Alert(
        "LvskeeperRealServerDown", "lvskeeper_real_server_up == 0", "2m", "warning",
        "{{ $labels.real_server }} of {{ $labels.virtual_server }} is down.",
        "`lvskeeper explain rs NAME` tells which check fails, and how.",
    ),
    Alert(
        "LvskeeperProbesBroken", 'increase(lvskeeper_probes_total{result="broken"}[5m]) > 0',
        "0s", "warning", "The director itself cannot make probes of kind {{ $labels.kind }}.",
        "Its log says what it is short of.",
    ),
    Alert(
        "LvskeeperKernelRefuses", "lvskeeper_virtual_server_refused > 0", "1m", "warning",
        "The kernel refuses part of {{ $labels.virtual_server }}.",
        "`lvskeeper explain vs NAME` names it.",
    ),
    Alert(
        "LvskeeperTableContested", "increase(lvskeeper_repairs_total[10m]) > 5", "0s", "warning",
        "Somebody else writes to our part of the IPVS table.",
        "`lvskeeper events -e drift_repaired` tells what was changed.",
    ),
    Alert(
        "LvskeeperPortsRunOut", "lvskeeper_local_addresses_used_ratio > 0.8", "1m", "warning",
        "The local-address group {{ $labels.group }} is nearly full.",
        "Add local addresses to the group; `lvskeeper status lips` names the real server.",
    ),
    Alert(
        "LvskeeperConntrackFull", "lvskeeper_conntrack_entries / lvskeeper_conntrack_limit > 0.8",
        "1m", "warning", "Connection tracking is nearly full.",
        "Raise net.netfilter.nf_conntrack_max.",
    ),
    Alert(
        "LvskeeperStateNotCarried", "lvskeeper_state_sync_keeps == 0", "2m", "warning",
        "A fail-over now would not keep connections.", "`lvskeeper status sync` tells why.",
    ),
)  # fmt: skip

PANELS: Final = (
    ("VRRP: who is MASTER", 'lvskeeper_vrrp_state{state="MASTER"}', "{{vrrp_instance}}"),
    ("VRRP: effective priority", "lvskeeper_vrrp_priority", "{{vrrp_instance}}"),
    ("VRRP: silence of peers (s)", "lvskeeper_vrrp_peer_age_seconds", "{{vrrp_instance}} {{peer}}"),
    ("VRRP: transitions", "increase(lvskeeper_vrrp_became_master_total[5m])", "{{vrrp_instance}}"),
    (
        "VRRP: adverts rejected a second",
        "rate(lvskeeper_vrrp_adverts_rejected_total[5m])",
        "{{vrrp_instance}} {{reason}}",
    ),
    (
        "Virtual servers: not up",
        'lvskeeper_virtual_server_state{state!="up"} == 1',
        "{{virtual_server}} {{state}}",
    ),
    (
        "Virtual servers: live weight above the loss of quorum",
        "lvskeeper_virtual_server_live_weight - lvskeeper_virtual_server_quorum_lost_below",
        "{{virtual_server}}",
    ),
    (
        "Real servers that are down",
        "lvskeeper_virtual_server_real_servers - lvskeeper_virtual_server_real_servers_up",
        "{{virtual_server}}",
    ),
    (
        "Connections",
        'sum by (service) (lvskeeper_real_server_connections{state="active"})',
        "{{service}}",
    ),
    (
        "Probes: 99th percentile (s)",
        "histogram_quantile(0.99, rate(lvskeeper_probe_duration_seconds_bucket[5m]))",
        "{{kind}}",
    ),
    ("Probes a second", "rate(lvskeeper_probes_total[5m])", "{{kind}} {{result}}"),
    ("Local addresses: use", "lvskeeper_local_addresses_used_ratio", "{{group}}"),
    ("Repairs", "increase(lvskeeper_repairs_total[5m])", "repairs"),
    ("Roles: silence (s)", "lvskeeper_role_beat_age_seconds", "{{role}}"),
)


def rules() -> str:
    """Return the alert rules for Prometheus."""
    group = {
        "name": "lvskeeper",
        "rules": [
            {
                "alert": alert.name,
                "expr": alert.expr,
                "for": alert.lasts,
                "labels": {"severity": alert.severity},
                "annotations": {"summary": alert.summary, "description": alert.do},
            }
            for alert in ALERTS
        ],
    }
    return json.dumps({"groups": [group]}, indent=2) + "\n"


def dashboard() -> str:
    """Return the dashboard for Grafana."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels = [
        {
            "id": number,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": {"x": number % 2 * 12, "y": number // 2 * 8, "w": 12, "h": 8},
            "targets": [{"refId": "A", "datasource": source, "expr": expr, "legendFormat": legend}],
        }
        for number, (title, expr, legend) in enumerate(PANELS)
    ]
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    return (
        json.dumps(
            {
                "title": "lvskeeper",
                "uid": "lvskeeper",
                "schemaVersion": 39,
                "refresh": "30s",
                "time": {"from": "now-6h", "to": "now"},
                "templating": {"list": [variable]},
                "panels": panels,
            },
            indent=2,
        )
        + "\n"
    )


def unknown_names(expr: str) -> set[str]:
    """Return the names in *expr* that no metric of ours has."""
    known = {name for m in METRICS if m.suite is Suite.OWN for name in series_of(m)}
    return set(_NAME.findall(expr)) - known


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / RULES).write_text(rules(), encoding="utf-8")
    (folder / DASHBOARD).write_text(dashboard(), encoding="utf-8")
