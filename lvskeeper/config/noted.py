"""Keywords of keepalived and its relatives that are known and not served yet.

They are part of the keyword table (:mod:`lvskeeper.config.keywords`). A file that uses them loads,
with a warning for each. K keepalived, T Taobao fork, D DPVS.
"""

from typing import Final

_Listed = tuple[tuple[str, str], ...]

NOTED_BLOCKS: Final[dict[str, _Listed]] = {
    "": (
        (
            "K",
            ("bfd_instance linkbeat_interfaces"),
        ),
        ("D", "deny_address_group allow_address_group tunnel_group"),
    ),
    "vrrp_instance": (("K", "track_bfd"),),
    "vrrp_sync_group": (("K", "track_bfd"),),
}

NOTED_SCALARS: Final[dict[str, _Listed]] = {
    "": (
        (
            "K",
            (
                "net_namespace net_namespace_ipvs namespace_with_ipsets use_pid_dir instance "
                "child_wait_time linkbeat_use_polling"
            ),
        ),
    ),
    "global_defs": (
        (
            "K",
            (
                "process_names "
                "process_name vrrp_process_name checker_process_name bfd_process_name "
                "lvs_process_name startup_script "
                "shutdown_script startup_script_timeout shutdown_script_timeout "
                "max_auto_priority min_auto_priority_delay disable_local_igmp lvs_timeouts "
                "vrrp_iptables vrrp_ipsets nftables nftables_priority nftables_ifindex "
                "nftables_counters nftables_ipvs nftables_ipvs_priority "
                "nftables_ipvs_start_fwmark checker_priority bfd_priority checker_no_swap "
                "bfd_no_swap checker_rt_priority bfd_rt_priority checker_cpu_affinity "
                "bfd_cpu_affinity checker_rlimit_rttime bfd_rlimit_rttime "
                "checker_rlimit_rtime bfd_rlimit_rtime vrrp_rx_bufs_policy "
                "vrrp_rx_bufs_multiplier vrrp_netlink_cmd_rcv_bufs "
                "vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs "
                "vrrp_netlink_monitor_rcv_bufs_force lvs_netlink_cmd_rcv_bufs "
                "lvs_netlink_cmd_rcv_bufs_force lvs_netlink_monitor_rcv_bufs "
                "lvs_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs "
                "process_monitor_rcv_bufs_force "
                "fifo_write_vrrp_states_on_reload snmp_socket enable_traps enable_snmp_vrrp "
                "enable_snmp_keepalived enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 "
                "enable_snmp_checker snmp_vs_stats_update_interval "
                "snmp_rs_stats_update_interval enable_dbus dbus_service_name "
                "dbus_no_interface_name vrrp_delay_after_boot umask "
                "random_seed reload_check_config reload_time_file reload_repeat reload_file "
                "include_check config_save_dir tmp_config_directory data_use_instance "
                "json_version iproute_usr_dir iproute_etc_dir state_dump_file stats_dump_file "
                "json_dump_file"
            ),
        ),
        ("T", "plugin_dir"),
    ),
    "virtual_server": (
        ("K", "hashed flag-1 flag-2 flag-3 snmp_name"),
        ("KT", "nat_mask"),
        (
            "D",
            (
                "hash_target expire_quiescent_conn quic proxy_protocol bps limit_proportion "
                "src-range dst-range iif oif daddr_group_name waddr_group_name"
            ),
        ),
    ),
    "real_server": (("K", "snmp_name"),),
    "vrrp_instance": (("K", "vrf debug linkbeat_use_polling kernel_rx_buf_size"),),
    "vrrp_sync_group": (("K", "global_tracking"),),
    "HTTP_GET": (("K", "enable_sni sni_name tls_compliant"),),
    "PING_CHECK": (("K", "connect_port bind_port"),),
    "url": (("K", "regex_stack tls_compliant"),),
}
