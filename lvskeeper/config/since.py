"""Since when a keyword is there, and which programs have it.

Four versions of keepalived were compared: 1.2.2, on which the FULLNAT fork of Taobao is based,
2.0.19, on which DPVS's is, 2.2.7 and 2.4.3. So *since* names the first of these that has a keyword,
not the release that brought it. What is in none of the lists below is in 2.0.19 and later. The
forks have all that their base has.
"""

from dataclasses import replace
from typing import Final

from lvskeeper.config.keyword import Keyword

_OLD: Final = {
    "": (
        "global_defs linkbeat_use_polling static_ipaddress static_routes vrrp_sync_group "
        "vrrp_instance vrrp_script SSL virtual_server_group virtual_server"
    ),
    "global_defs": (
        "router_id notification_email notification_email_from smtp_server smtp_connect_timeout "
        "vrrp_mcast_group4 vrrp_mcast_group6 enable_traps"
    ),
    "SSL": "ca certificate key password",
    "vrrp_sync_group": "group notify_master notify_backup notify_fault notify smtp_alert",
    "vrrp_instance": (
        "state interface virtual_router_id priority advert_int virtual_ipaddress "
        "virtual_ipaddress_excluded virtual_routes authentication nopreempt preempt preempt_delay "
        "mcast_src_ip native_ipv6 track_interface track_script dont_track_primary "
        "garp_master_delay notify_master notify_backup notify_fault notify_stop notify smtp_alert "
        "lvs_sync_daemon_interface debug"
    ),
    "authentication": "auth_type auth_pass",
    "vrrp_script": "script interval weight rise fall",
    "virtual_server": (
        "delay_loop lb_algo lvs_sched lb_kind lvs_method protocol persistence_timeout "
        "persistence_granularity ha_suspend virtualhost alpha omega quorum hysteresis quorum_up "
        "quorum_down sorry_server real_server"
    ),
    "real_server": (
        "weight inhibit_on_failure uthreshold lthreshold notify_up notify_down TCP_CHECK HTTP_GET "
        "SSL_GET SMTP_CHECK MISC_CHECK"
    ),
    "TCP_CHECK": "connect_port bindto connect_timeout",
    "HTTP_GET": "connect_port bindto connect_timeout delay_before_retry url nb_get_retry",
    "SSL_GET": "connect_port bindto connect_timeout delay_before_retry url nb_get_retry",
    "url": "path digest status_code",
    "SMTP_CHECK": "connect_timeout retry delay_before_retry helo_name host",
    "host": "connect_ip connect_port bindto",
    "MISC_CHECK": "misc_path misc_timeout misc_dynamic",
}
_NEW: Final = {
    "": "net_namespace_ipvs track_file interface_up_down_delays",
    "global_defs": (
        "checker_process_name startup_script shutdown_script startup_script_timeout "
        "shutdown_script_timeout max_auto_priority min_auto_priority_delay disable_local_igmp "
        "lvs_flush_on_stop vrrp_garp_extra_if vrrp_vmac_garp_intvl vrrp_down_timer_adverts "
        "nftables_ipvs nftables_ipvs_priority nftables_ipvs_start_fwmark vrrp_rlimit_rttime "
        "checker_rlimit_rttime bfd_rlimit_rttime fifo_write_vrrp_states_on_reload vmac_prefix "
        "vmac_addr_prefix reload_check_config reload_time_file reload_repeat reload_file "
        "include_check config_save_dir tmp_config_directory data_use_instance"
    ),
    "vrrp_sync_group": "notify_priority_changes",
    "vrrp_instance": (
        "mcast_dst_ip unicast_fault_no_peer check_unicast_src unicast_ttl vrf use_vmac_addr "
        "garp_extra_if vmac_garp_intvl down_timer_adverts notify_deleted"
    ),
    "track_file": "file weight init_file",
    "virtual_server": "snmp_name",
    "real_server": "snmp_name PING_CHECK FILE_CHECK",
    "PING_CHECK": (
        "connect_ip connect_port bindto bind_port bind_if connect_timeout fwmark retry "
        "delay_before_retry warmup delay_loop alpha log_all_failures"
    ),
    "url": "regex_min_offset regex_max_offset regex_stack",
    "FILE_CHECK": "track_file weight",
}
_LATEST: Final = {
    "global_defs": (
        "use_symlink_paths set_supplementary_groups v3_checksum_as_v2 "
        "snmp_vs_stats_update_interval snmp_rs_stats_update_interval dbus_no_interface_name "
        "vrrp_delay_after_boot vrrp_owner_ignore_adverts json_version iproute_usr_dir "
        "iproute_etc_dir state_dump_file stats_dump_file json_dump_file"
    ),
    "vrrp_instance": (
        "no_virtual_ipaddress auth_hmac owner_ignore_adverts timer_expired_backup "
        "thread_timer_expired v3_checksum_as_v2"
    ),
    "auth_hmac": "key active_key time_window anti_replay mode",
    "bfd_instance": "multihop",
    "HTTP_GET": "sni_name",
    "SSL_GET": "sni_name tls_compliant",
    "url": "tls_compliant",
}

_GONE: Final = frozenset({"nat_mask", "plugin_dir"})
"""In 1.2.2, and so in the FULLNAT fork, and no more in 2.0.19."""

_OURS: Final = {
    "FILE_CHECK": "retry delay_before_retry warmup delay_loop alpha log_all_failures",
    "SSL_GET": "ca certificate key",
}
"""Keywords that keepalived has in other blocks only."""

_ORIGINS: Final = {"1.2.2": "KTD", "2.0.19": "KD", "2.2.7": "K", "2.4.3": "K"}


def _versions() -> dict[tuple[str, str], str]:
    return {
        (block, name): version
        for version, blocks in (("1.2.2", _OLD), ("2.2.7", _NEW), ("2.4.3", _LATEST))
        for block, names in blocks.items()
        for name in names.split()
    }


_VERSIONS: Final = _versions()


def dated(block: str, keyword: Keyword) -> Keyword:
    """Return *keyword* of *block* with the version that had it first, and who has it."""
    if keyword.name in _GONE:
        return replace(keyword, since="1.2.2")
    if "K" not in keyword.origin:
        return keyword
    if keyword.name in _OURS.get(block, "").split():
        return replace(keyword, origin="L")
    since = _VERSIONS.get((block, keyword.name), "2.0.19")
    return replace(keyword, since=since, origin=_ORIGINS[since])
