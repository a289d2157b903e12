"""What each metric says of a pair that serves: present, complete, and within bounds.

The pair is that of :mod:`lvskeeper.lab.synced`, with checks; connections go through its master, and
an advert with a wrong TTL came over IPv4.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import final

from support.scraping import Told

from lvskeeper import __version__
from lvskeeper.health.tally import BOUNDS
from lvskeeper.lab.pair import PRIORITIES
from lvskeeper.lab.topology import FRONT
from lvskeeper.observe.metrics_services import VIRTUAL_STATES
from lvskeeper.observe.metrics_vrrp import STATES

INSTANCES = {"web4": "4", "web6": "6"}
"""With their families."""
GROUP = "web"
TRACKED = {"interface front", "interface back", "file leave", "script stay"}
SERVERS = 3
"""Real servers of each virtual server, all of weight 1."""
AGE = 60.0
"""Most seconds since something that comes again and again; an emulated machine is slow."""
LIFE = 3600.0
"""Most seconds that a laboratory lasts."""


@final
@dataclass(frozen=True)
class Director:
    """One that was scraped, and what it is known to do."""

    number: int
    file: Path
    virtuals: int
    """How many virtual servers it has."""
    checks: Collection[str]
    """The kind of each of its checks."""
    master: bool
    alone: bool = False
    """Its peer is dead, and it has taken over."""

    @property
    def peer(self) -> int:
        return 3 - self.number

    @property
    def state(self) -> str:
        return "MASTER" if self.master else "BACKUP"


Samples = Sequence[tuple[Mapping[str, str], float]]
Judge = Callable[[Director, Samples], bool]
"""Whether samples are all of those that have to be there, and sane."""
Number = float | Callable[[Director], float]


def each(count: Number, low: Number, high: Number | None = None) -> Judge:
    """So many samples from *low* to *high*, or all of *low*."""

    def judge(it: Director, samples: Samples) -> bool:
        most = low if high is None else high
        return len(samples) == _of(count, it) and all(
            _of(low, it) <= value <= _of(most, it) for _, value in samples
        )

    return judge


def summed(count: Number, carried: float) -> Judge:
    """So many samples, none below 0; of who carries connections they make up *carried* at least."""

    def judge(it: Director, samples: Samples) -> bool:
        total = sum(value for _, value in samples)
        return each(count, 0, inf)(it, samples) and (total >= carried or not it.master)

    return judge


def listed(count: Number, low: float = 0, high: float = inf) -> Judge:
    """Some of so many samples: of a laboratory's many namespaces the kernel lists not all."""

    def judge(it: Director, samples: Samples) -> bool:
        return 0 < len(samples) <= _of(count, it) and all(
            low <= value <= high for _, value in samples
        )

    return judge


def by_state(master: Judge, backup: Judge, alone: Judge | None = None) -> Judge:
    def judge(it: Director, samples: Samples) -> bool:
        chosen = alone if it.alone and alone else master if it.master else backup
        return chosen(it, samples)

    return judge


def _of(number: Number, it: Director) -> float:
    return number(it) if callable(number) else number


def _virtuals(it: Director) -> float:
    return it.virtuals


def _destinations(it: Director) -> float:
    return it.virtuals * SERVERS


def _priority(it: Director) -> float:
    return PRIORITIES[it.number]


def _priority_of_peer(it: Director) -> float:
    return PRIORITIES[it.peer]


def _info(it: Director, samples: Samples) -> bool:
    return samples == [({"version": __version__, "file": str(it.file)}, 1.0)]


def _instances(_: Director, samples: Samples) -> bool:
    return samples == [
        ({"vrrp_instance": name, "interface": FRONT, "vrid": "51", "family": family,
          "group": GROUP}, 1.0)
        for name, family in INSTANCES.items()
    ]  # fmt: skip


def _states_of(label: str, names: Collection[str]) -> Judge:
    """One sample for each state of each name, 1 for the state that it is in."""

    def judge(it: Director, samples: Samples) -> bool:
        found = {(at[label], at["state"]): value for at, value in samples}
        return found == {
            (name, state): float(state == it.state) for name in names for state in STATES
        }

    return judge


def _tracks(_: Director, samples: Samples) -> bool:
    found = {(at["vrrp_instance"], at["track"]): value for at, value in samples}
    return found == {(name, track): 1.0 for name in INSTANCES for track in TRACKED}


def _rejected(_: Director, samples: Samples) -> bool:
    return {(at["vrrp_instance"], at["reason"]) for at, value in samples if value} == {
        ("web4", "ttl")
    }


def _wrong_ttl(_: Director, samples: Samples) -> bool:
    return {at["iname"]: value > 0 for at, value in samples} == {"web4": True, "web6": False}


def _numbers(it: Director, samples: Samples) -> bool:
    """keepalived's numbers of states, one for each address."""
    told = {(at["iname"], value) for at, value in samples}
    return told == {(name, 2.0 if it.master else 1.0) for name in INSTANCES} and len(samples) > 2


def _virtual_states(it: Director, samples: Samples) -> bool:
    in_it = [at["state"] for at, value in samples if value]
    return in_it == ["up"] * it.virtuals and len(samples) == it.virtuals * len(VIRTUAL_STATES)


def _probes(it: Director, samples: Samples) -> bool:
    found = {(at["kind"], at["result"]): value for at, value in samples}
    return len(found) == 3 * len(set(it.checks)) and all(
        found[kind, "good"] > found[kind, "bad"] and not found[kind, "broken"] for kind in it.checks
    )


def _buckets(it: Director, samples: Samples) -> bool:
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in it.checks}
    for at, value in samples:
        found[at["kind"]].append((float(at["le"]), value))
    for buckets in found.values():
        counts = [count for _, count in sorted(buckets)]
        if len(counts) != len(BOUNDS) + 1 or counts != sorted(counts) or not counts[-1]:
            return False
    return True


def _cookies(it: Director, samples: Samples) -> bool:
    found = {at["counter"]: value for at, value in samples}
    carried = found["syn_received"] > 0 and found["cookie_valid"] > 0
    return (carried or not it.master) and min(found.values()) >= 0


def _of_checks(low: float, high: float | None = None) -> Judge:
    return each(lambda it: len(it.checks), low, high)


def _of_kinds(low: float, high: float) -> Judge:
    return each(lambda it: len(set(it.checks)), low, high)


_EACH_0 = each(2, 0)
"""Of both instances, and nothing in this laboratory brings it about."""
_COUNTER = each(1, 0, 1e6)
_SENT = by_state(each(2, 1, 1e6), each(2, 0, 100))
_HEARD = by_state(each(2, 0, 100), each(2, 1, 1e6), alone=each(2, 1, 1e6))
# Two that start together may both be master until they hear each other
_BECAME_MASTER = by_state(each(2, 1, 3), each(2, 0, 2))
_RELEASED_MASTER = each(2, 0, 2)


def _of_peer(judge: Judge, alone: Judge | None = None) -> Judge:
    """Of the peer that a backup hears, or a master has heard; else there is nothing."""

    def master(it: Director, samples: Samples) -> bool:
        return not samples or judge(it, samples)

    return by_state(master, judge, alone or judge)


SANE: Mapping[str, Judge] = {
    "lvskeeper_info": _info,
    "lvskeeper_uptime_seconds": each(1, 1, LIFE),
    "lvskeeper_configuration_generation": each(1, 2, 10),
    "lvskeeper_configuration_age_seconds": each(1, 0, LIFE),
    "lvskeeper_role_answers": each(2, 1),
    "lvskeeper_role_uptime_seconds": each(2, 1, LIFE),
    "lvskeeper_role_beat_age_seconds": each(2, 0, AGE),
    "lvskeeper_view_age_seconds": each(2, 0, AGE),
    "lvskeeper_vrrp_info": _instances,
    "lvskeeper_vrrp_state": _states_of("vrrp_instance", INSTANCES),
    "lvskeeper_vrrp_group_state": _states_of("group", [GROUP]),
    "lvskeeper_vrrp_state_age_seconds": each(2, 0, LIFE),
    "lvskeeper_vrrp_priority": each(2, _priority),
    "lvskeeper_vrrp_base_priority": each(2, _priority),
    "lvskeeper_vrrp_faults": _EACH_0,
    "lvskeeper_vrrp_master_age_seconds": by_state(each(0, 0), each(2, 0, AGE)),
    "lvskeeper_vrrp_master_priority": by_state(each(0, 0), each(2, _priority_of_peer)),
    "lvskeeper_vrrp_contention_seconds": _EACH_0,
    "lvskeeper_vrrp_announced_age_seconds": by_state(
        each(2, 0, LIFE), lambda _, samples: len(samples) <= 2
    ),
    "lvskeeper_vrrp_peer_age_seconds": _of_peer(each(2, 0, AGE), alone=each(2, 1, LIFE)),
    "lvskeeper_vrrp_peer_priority": _of_peer(each(2, _priority_of_peer)),
    "lvskeeper_vrrp_peer_adverts_total": _of_peer(each(2, 1, 1e6)),
    "lvskeeper_vrrp_track_well": _tracks,
    "lvskeeper_vrrp_adverts_sent_total": _SENT,
    "lvskeeper_vrrp_adverts_received_total": _HEARD,
    "lvskeeper_vrrp_adverts_rejected_total": _rejected,
    "lvskeeper_vrrp_priority_zero_sent_total": _EACH_0,
    "lvskeeper_vrrp_priority_zero_received_total": _EACH_0,
    "lvskeeper_vrrp_became_master_total": _BECAME_MASTER,
    "lvskeeper_vrrp_released_master_total": _RELEASED_MASTER,
    "lvskeeper_vrrp_late_total": each(2, 0, 1000),
    "lvskeeper_vrrp_holdings_lost_total": each(2, 0, 10),
    "lvskeeper_virtual_server_state": _virtual_states,
    "lvskeeper_virtual_server_quorum": each(_virtuals, 1),
    "lvskeeper_virtual_server_live_weight": each(_virtuals, SERVERS),
    "lvskeeper_virtual_server_quorum_gained_at": each(_virtuals, 1, SERVERS),
    "lvskeeper_virtual_server_quorum_lost_below": each(_virtuals, 1, SERVERS),
    "lvskeeper_virtual_server_real_servers": each(_virtuals, SERVERS),
    "lvskeeper_virtual_server_real_servers_up": each(_virtuals, SERVERS),
    "lvskeeper_virtual_server_refused": each(_virtuals, 0),
    "lvskeeper_real_server_up": each(_destinations, 1),
    "lvskeeper_real_server_serving": each(_destinations, 1),
    "lvskeeper_real_server_weight": each(_destinations, 1),
    "lvskeeper_real_server_state_age_seconds": each(_destinations, 0, LIFE),
    "lvskeeper_real_server_connections": listed(lambda it: 2 * _destinations(it)),
    "lvskeeper_check_up": _of_checks(1),
    "lvskeeper_check_age_seconds": _of_checks(0, AGE),
    "lvskeeper_check_duration_seconds": _of_checks(0, AGE),
    "lvskeeper_probes_total": _probes,
    "lvskeeper_probe_duration_seconds_bucket": _buckets,
    "lvskeeper_probe_duration_seconds_sum": _of_kinds(0, LIFE),
    "lvskeeper_probe_duration_seconds_count": _of_kinds(1, 1e6),
    # What the master has lost of its table is repaired before it dies, and so is that of the other
    "lvskeeper_repairs_total": each(1, 1, 10),
    "lvskeeper_local_addresses_connections": summed(1, 1),
    "lvskeeper_local_addresses_used_ratio": by_state(each(1, 1e-6, 1), each(1, 0, 1)),
    "lvskeeper_conntrack_entries": each(1, 1, 1e6),
    "lvskeeper_conntrack_limit": each(1, 1000, 1e9),
    "lvskeeper_syn_cookies_total": _cookies,
    "lvskeeper_state_sync_keeps": by_state(each(1, 1), each(1, 1), alone=each(1, 0)),
    "lvskeeper_state_sync_peer_up": by_state(each(1, 1), each(1, 1), alone=each(1, 0)),
    "lvskeeper_state_sync_running": each(1, 1),
    "lvskeeper_state_sync_behind": _COUNTER,
    "lvskeeper_state_sync_own_connections": summed(1, 1),
    "lvskeeper_state_sync_peer_connections": by_state(each(1, 0, 1e6), each(1, 1, 1e6)),
    "lvskeeper_state_sync_refused_total": _COUNTER,
    "lvskeeper_state_sync_errors_total": _COUNTER,
    "lvskeeper_state_sync_overruns_total": each(1, 0),
    "keepalived_up": each(1, 1),
    "keepalived_vrrp_state": _numbers,
    "keepalived_script_status": each(1, 1),
    "keepalived_become_master_total": _BECAME_MASTER,
    "keepalived_release_master_total": _RELEASED_MASTER,
    "keepalived_advertisements_received_total": _HEARD,
    "keepalived_advertisements_sent_total": _SENT,
    "keepalived_priority_zero_received_total": _EACH_0,
    "keepalived_priority_zero_sent_total": _EACH_0,
    "keepalived_address_list_errors_total": _EACH_0,
    "keepalived_packet_length_errors_total": _EACH_0,
    "keepalived_advertisements_interval_errors_total": _EACH_0,
    "keepalived_ip_ttl_errors_total": _wrong_ttl,
    "keepalived_invalid_type_received_total": _EACH_0,
    "keepalived_authentication_invalid_total": _EACH_0,
    "keepalived_authentication_mismatch_total": _EACH_0,
    "keepalived_authentication_failure_total": _EACH_0,
    "node_ipvs_connections_total": summed(1, 1),
    "node_ipvs_incoming_packets_total": summed(1, 1),
    "node_ipvs_outgoing_packets_total": summed(1, 1),
    "node_ipvs_incoming_bytes_total": summed(1, 1),
    "node_ipvs_outgoing_bytes_total": summed(1, 1),
    "node_ipvs_backend_connections_active": listed(_destinations),
    "node_ipvs_backend_connections_inactive": listed(_destinations),
    "node_ipvs_backend_weight": listed(_destinations, 1, 1),
}
"""What each series has to be like. All of them are there in that laboratory, some of a backup."""


def insane(it: Director, told: Told) -> dict[str, Samples]:
    """Return what is not as it ought to be, by name."""
    samples = {name: told.get(name, []) for name in SANE.keys() | told.keys()}
    return {
        name: found
        for name, found in samples.items()
        if name not in SANE or not SANE[name](it, found)
    }
