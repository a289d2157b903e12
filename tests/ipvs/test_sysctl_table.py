"""The table against what kernels were seen to have, and what their code says."""

import pytest

from lvskeeper.ipvs.dialect import V3_SYSCTLS, Dialect
from lvskeeper.ipvs.sysctl_table import OTHER_FORM, SYSCTLS

FORK_V2 = """\
am_droprate 10 amemthresh 1024 cache_bypass 0 conn_expire_tcp_rst 1 defence_frag_drop 1
defence_tcp_drop 1 defence_udp_drop 1 drop_entry 0 drop_packet 0 expire_nodest_conn 0
expire_quiescent_template 0 fast_response_xmit 1 fullnat_conn_reused_entry 1
fullnat_lport_max 65535 fullnat_lport_min 5000 fullnat_lport_tries 10000
fullnat_mss_adjust_entry 1 fullnat_timestamp_remove_entry 1 fullnat_toa_entry 1
lblc_expiration 86400 lblcr_expiration 86400 nat_icmp_send 0 secure_tcp 0
synproxy_ack_skb_store_thresh 3 synproxy_ack_storm_thresh 10 synproxy_conn_reuse 1
synproxy_conn_reuse_close 1 synproxy_conn_reuse_close_wait 0 synproxy_conn_reuse_fin_wait 0
synproxy_conn_reuse_last_ack 0 synproxy_conn_reuse_time_wait 1 synproxy_defer 0
synproxy_init_mss 1452 synproxy_sack 1 synproxy_syn_retry 3 synproxy_synack_ttl 63
synproxy_timestamp 0 synproxy_wscale 0 timeout_close 3 timeout_closewait 3
timeout_established 90 timeout_finwait 3 timeout_lastack 3 timeout_listen 120
timeout_synack 30 timeout_synrecv 30 timeout_synsent 3 timeout_timewait 3
"""
"""A fresh boot of the fork's second version, but for ``sync_threshold``, which is two numbers."""


def of(dialect: Dialect) -> set[str]:
    return {name for name, one in SYSCTLS.items() if dialect in one.kernels}


def test_the_second_version_has_what_it_was_seen_to_have() -> None:
    words = FORK_V2.split()
    seen = dict(zip(words[::2], words[1::2], strict=True))
    assert of(Dialect.FORK_V2) == {*seen, "debug_level"}
    for name, value in seen.items():
        assert SYSCTLS[name].low <= int(value) <= SYSCTLS[name].high
        assert SYSCTLS[name].default.replace(":", ",").partition(",")[0] == value


def test_the_third_version_adds_those_by_which_it_is_known() -> None:
    assert of(Dialect.FORK_V3) - of(Dialect.FORK_V2) == set(V3_SYSCTLS)


@pytest.mark.parametrize("name", ["conntrack", "conn_reuse_mode", "schedule_icmp", "sync_ports"])
def test_what_mainline_has_alone(name: str) -> None:
    assert SYSCTLS[name].kernels == {Dialect.MAINLINE}


def test_ranges_are_sound_and_other_forms_apart() -> None:
    assert all(one.low < one.high and one.meaning and one.kernels for one in SYSCTLS.values())
    assert not SYSCTLS.keys() & OTHER_FORM.keys()
