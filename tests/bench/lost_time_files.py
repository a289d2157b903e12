"""What the benchmark of fail-overs writes for either side, and for both."""

from pathlib import Path
from typing import Final

from lvskeeper.lab.pair import ECHO, PRIORITIES, VIP4, WEB
from lvskeeper.lab.synced import DOWNLOAD, SYNC, SYNC_ADDRESSES, state_sync
from lvskeeper.lab.topology import BACK, FRONT, local_addresses, real_server

SCRIPT: Final = Path("/usr/share/doc/conntrackd/examples/sync/primary-backup.sh")
_ONLY_SYN: Final = "tcp flags & (fin | syn | rst | ack) == syn"
_LIPS: Final = ", ".join(f"{number} : {lip}" for number, lip in enumerate(local_addresses()[0]))
_SERVER: Final = real_server(1)[0]
STAND_IN: Final = f"""
table inet standin {{
  chain pre {{
    type nat hook prerouting priority dstnat;
    ip daddr {VIP4} tcp dport 80 {_ONLY_SYN} dnat ip to {_SERVER}:{WEB}
    ip daddr {VIP4} tcp dport 83 {_ONLY_SYN} dnat ip to {_SERVER}:{DOWNLOAD}
    ip daddr {VIP4} udp dport 89 dnat ip to {_SERVER}:{ECHO}
  }}
  chain post {{
    type nat hook postrouting priority srcnat;
    ct original ip daddr {VIP4} snat ip to jhash ip saddr . th sport mod 4 map {{ {_LIPS} }}
  }}
}}
"""
"""FULLNAT by nft alone. As with IPVS, nothing but a SYN opens a connection."""
_LIMITS: Final = "  vrrp_version 3\n  vrrp_rt_priority 50\n  vrrp_no_swap\n"


def our_conf(number: int) -> str:
    """Return the configuration of lvskeeper."""
    return f"global_defs {{\n{_LIMITS}}}\n{_instance(number)}{state_sync(number, 3)}"


def keepalived_conf(number: int, script: Path, note: Path) -> str:
    """Return that of keepalived: *script* is called like primary-backup.sh, *note* at all times."""
    notify = (
        f'  notify_master "{script} primary"\n  notify_backup "{script} backup"\n'
        f'  notify_fault "{script} fault"\n  notify "{note}"\n'
    )
    security = "  enable_script_security\n  script_user root\n"
    return f"global_defs {{\n{_LIMITS}{security}}}\n{_instance(number, notify)}"


def _instance(number: int, more: str = "") -> str:
    excluded = "".join(f"    {lip}/32 dev {BACK}\n" for lip in local_addresses()[0])
    return (
        f"vrrp_instance web4 {{\n  state BACKUP\n  nopreempt\n  interface {FRONT}\n"
        f"  virtual_router_id 51\n  advert_int 1\n  priority {PRIORITIES[number]}\n{more}"
        f"  track_interface {{\n    {BACK}\n  }}\n"
        f"  virtual_ipaddress {{\n    {VIP4}/32\n  }}\n"
        f"  virtual_ipaddress_excluded {{\n{excluded}  }}\n}}\n"
    )


def conntrackd_conf(number: int, lock: Path, control: Path) -> str:
    """Return a conntrackd.conf like the FTFW example of conntrack-tools."""
    own, peer = SYNC_ADDRESSES[number], SYNC_ADDRESSES[3 - number]
    return f"""\
Sync {{
  Mode FTFW {{
  }}
  UDP {{
    IPv4_address {own}
    IPv4_Destination_Address {peer}
    Port 3780
    Interface {SYNC}
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }}
}}
General {{
  HashSize 32768
  HashLimit 131072
  LogFile off
  LockFile {lock}
  UNIX {{
    Path {control}
  }}
  NetlinkBufferSize 2097152
  NetlinkBufferSizeMaxGrowth 8388608
  Filter From Userspace {{
    Protocol Accept {{
      TCP
      UDP
    }}
    Address Ignore {{
      IPv4_address 127.0.0.1
      IPv4_address {own}
      IPv4_address {peer}
    }}
  }}
}}
"""


def notify_script(conntrackd: Path, lock: Path) -> str:
    """Return the script that comes with conntrackd, for another configuration and lock."""
    text = SCRIPT.read_text().replace("/etc/conntrackd/conntrackd.conf", str(conntrackd))
    return text.replace("/var/lock/conntrack.lock", str(lock))
