"""Keywords of ``state_sync``: part of the table of keywords."""

from typing import Final

from lvskeeper.config import keyword as k
from lvskeeper.config import values as v
from lvskeeper.config import vrrp_values as w

BLOCK: Final = "state_sync"
SOCKET: Final = "/var/run/conntrackd.ctl"
"""Where conntrackd's packages have its control socket."""

ROOT_BLOCK: Final = k.block(
    BLOCK, "",
    "Carry connections to the peer director, so that they survive a fail-over. lvskeeper runs "
    "conntrackd for it. See docs/state-sync.md.",
    "L",
)  # fmt: skip

KEYWORDS: Final = (
    k.value("interface", "INTERFACE", "The link to the peer; best one of its own.", w.device,
            origin="L"),
    k.value("address", "ADDRESS", "Our address on the link.", v.address, origin="L"),
    k.value("peer", "ADDRESS", "The peer's address on the link.", v.address, origin="L"),
    k.value("multicast", "GROUP", "In place of `peer`: the group that both directors use.",
            w.multicast, origin="L"),
    k.value("port", "1..65535", "UDP port, the same on both directors.", v.integer(1, 65_535),
            default="3780", origin="L"),
    k.value("follows", "NAME",
            "The instance that tells whether this director serves. What it took over it then "
            "tells to a peer that comes back.",
            v.text, default="the first vrrp_instance", origin="L"),
    k.flag("external",
           "The administrator runs conntrackd: lvskeeper starts and ends none, but watches and "
           "asks it. Its mode has to be FTFW with `DisableExternalCache On`.", "L"),
    k.value("socket", "PATH", "`external`: the control socket of that conntrackd.", w.file_path,
            default=SOCKET, origin="L"),
    k.value("hold", "SECONDS",
            "For so long after a take-over packets of no known connection are dropped, so that "
            "they are sent again, instead of answered with a reset; 0 turns it off.",
            v.seconds(zero=True, high=60), default="3", origin="L"),
)  # fmt: skip
