"""The one table of keywords: what the parser takes, what it hints at, what the manual lists.

Lower blocks are found by their own name: the block of ``real_server`` is ``BLOCKS["real_server"]``.
"""

from functools import lru_cache
from typing import Final

from lvskeeper.config import check_keywords as checks
from lvskeeper.config import check_values as c
from lvskeeper.config import fullnat_keywords as fullnat
from lvskeeper.config import keyword as k
from lvskeeper.config import state_sync_keywords as state_sync
from lvskeeper.config import unserved_keywords as unserved
from lvskeeper.config import values as v
from lvskeeper.config import vrrp_keywords as vrrp
from lvskeeper.config.control_keywords import CONTROL_SOCKET
from lvskeeper.config.include import include_check
from lvskeeper.config.keyword import Keyword
from lvskeeper.config.off import codes_off
from lvskeeper.config.since import dated
from lvskeeper.config.unserved_values import listed_address
from lvskeeper.ipvs.types import SCHEDULERS

ROOT: Final = ""
"""Name of the outermost block in :data:`BLOCKS`."""


_ROOT: Final = (
    k.block("global_defs", "", "What holds for the whole director."),
    k.block(
        "local_address_group", "NAME",
        "A pool of local addresses (LIPs) for FNAT; one `ADDRESS[-LAST] [DEVICE]` a line. LAST is "
        "the last byte, decimal for IPv4 and hexadecimal for IPv6. With a device the director puts "
        "the addresses there.",
        "TD", read=v.text, least=2, most=2, key="local_address_groups",
    ),
    k.block(
        "virtual_server_group", "NAME",
        "Services that share their real servers; one `ADDRESS[-LAST] PORT` or "
        "`fwmark N [inet|inet6]` a line. LAST is the last byte in decimal for IPv4, the last 16 "
        "bits in hexadecimal for IPv6. Networks such as 192.0.2.0/28 are not served.",
        read=v.text, least=2, most=2, key="virtual_server_groups",
    ),
    k.block(
        "virtual_server", "ADDRESS [PORT] | fwmark N | group NAME",
        "A virtual server. Without a port, or with 0, it takes all ports.",
        read=v.virtual_server, least=2, most=3, key="virtual_servers",
    ),
    checks.ROOT_BLOCK,
    state_sync.ROOT_BLOCK,
    *vrrp.ROOT_BLOCKS,
)  # fmt: skip

_NO_FLUSH_ON_STOP: Final = (
    "a clean stop removes lvskeeper's own services and no others; remove the line"
)

_GLOBAL: Final = (
    k.text("router_id", "NAME", "Name of this director in logs.", v.text, default="host name"),
    Keyword(
        "script_user", "USER [GROUP]", "Who runs scripts that name no user.", "K", v.user,
        least=2, most=3, default="the daemon's user",
    ),
    k.flag(
        "lvs_manage_sysctls",
        "Set the kernel settings that forwarding needs; `no` only reports them.", "L",
        default="yes",
    ),
    k.flag(
        "lvs_keep_on_stop", "Leave services and rules in the kernel at a clean stop.", "L",
    ),
    Keyword(
        "include_check", "[[+|-]CHECK ...]",
        "What a plain `include` behind this line asks for, beside a file that can be read: "
        "`wildcard_match`, that a pattern matches a file, `brace_match`, that each choice in "
        "braces does. `read` and `match` hold in any case. Alone it asks for all; `+` and `-` add "
        "and take one.", "K", include_check, most=9, many=True, key="include_checks",
    ),
    k.value(
        "compat", "keepalived",
        "Where keepalived merely logs what is wrong and goes on without it, a warning does, as "
        "with `--compat keepalived`.", v.choice("keepalived"), default="errors refuse the file",
        origin="L",
    ),
    Keyword(
        "warnings_off", "CODE ...", "Warnings that are not told, as LK0324; errors always are.",
        "L", codes_off, least=2, most=99, many=True,
    ),
    CONTROL_SOCKET,
    *fullnat.GLOBALS,
    *vrrp.GLOBALS,
    k.refused(
        "lvs_flush", "Empty the IPVS table at start.",
        "lvskeeper never flushes: it changes what is its own and differs, so that connections "
        "survive a restart; remove the line",
    ),
    k.refused("lvs_flush_on_stop", "Empty the IPVS table at stop.", _NO_FLUSH_ON_STOP),
    k.old(k.refused("lvs_flush_on_stop", "", _NO_FLUSH_ON_STOP), "lvs_flush_onstop"),
)  # fmt: skip

_INHIBIT: Final = "Keep a failed real server in the table with weight 0."

_VIRTUAL: Final = (
    k.value(
        "protocol", "TCP|UDP|SCTP",
        "Transport protocol; required, but for a fwmark, which has none.",
        v.choice("TCP", "UDP", "SCTP", fold=True),
    ),
    Keyword(
        "lb_algo", "SCHEDULER", f"Scheduler: {', '.join(SCHEDULERS)}.", "K", v.scheduler,
        least=2, default="wlc",
    ),
    Keyword(
        "lvs_sched", "SCHEDULER", "The same as `lb_algo`.", "K", v.scheduler, least=2,
        key="lb_algo",
    ),
    Keyword(
        "lb_kind", "NAT | DR | FNAT | TUN [type ipip|gue|gre] [port N] [nocsum|csum|remcsum]",
        "Forwarding method. FNAT is FULLNAT: it also translates the source, to a local address.",
        "K", v.forwarding, least=2, most=7, default="NAT",
    ),
    Keyword(
        "lvs_method", "METHOD", "The same as `lb_kind`.", "K", v.forwarding, least=2, most=7,
        key="lb_kind",
    ),
    Keyword(
        "laddr_group_name", "NAME", "Local-address group, for FNAT.", "TD", v.text, least=2,
    ),
    *fullnat.VIRTUAL,
    k.bare("ops", "One-packet scheduling (UDP)."),
    k.bare("sh-port", "Scheduler sh: hash the source port too."),
    k.bare("sh-fallback", "Scheduler sh: choose another server where the hashed one is down."),
    k.bare("mh-port", "Scheduler mh: hash the source port too."),
    k.bare("mh-fallback", "Scheduler mh: choose another server where the hashed one is down."),
    k.value(
        "ip_family", "inet|inet6", "Address family of a fwmark service.",
        v.choice("inet", "inet6"), default="that of the real servers",
    ),
    Keyword(
        "persistence_timeout", "[SECONDS]", "A client stays with its server for this long.", "K",
        v.persistence_timeout, default="off; 360 without a number",
    ),
    k.value(
        "persistence_granularity", "NETMASK|PREFIX",
        "Clients of one such network stay together; implies persistence.", v.granularity,
        default="one client",
    ),
    k.value(
        "persistence_engine", "sip", "Persistence by SIP call (UDP); implies persistence.",
        v.choice("sip"),
    ),
    Keyword(
        "est_timeout", "SECONDS",
        "Timeout of established connections (FULLNAT kernels v3); 0 is the kernel's.", "T",
        v.established, least=2, default="the kernel's",
    ),
    Keyword(
        "establish_timeout", "SECONDS", "The same as `est_timeout`.", "D",
        v.established, least=2, key="est_timeout",
    ),
    *checks.TIMING,
    k.bare("inhibit_on_failure", _INHIBIT),
    checks.VIRTUALHOST,
    k.bare("alpha", checks.ALPHA),
    k.bare("omega", "Run `notify_down` and `quorum_down` at a clean stop."),
    k.value(
        "quorum", "N", "Weight that must be up for the service to count as served.",
        v.integer(1, 2**31 - 1), default="1",
    ),
    k.value(
        "hysteresis", "N", "Gained at quorum plus this, lost below quorum minus this.",
        v.integer(0, 2**31 - 1), default="0",
    ),
    k.command("quorum_up", "Run when the quorum is gained."),
    k.command("quorum_down", "Run when the quorum is lost."),
    k.value("weight", "N", "Weight of real servers that give none.", v.integer(0, 2**31 - 1),
           default="1"),
    Keyword(
        "sorry_server", "ADDRESS [PORT]", "Serves while the quorum is lost.", "K", v.endpoint,
        least=2, most=3,
    ),
    k.bare("sorry_server_inhibit", "Keep the sorry server in the table with weight 0 while it does "
           "not serve."),
    Keyword(
        "sorry_server_lvs_method", "METHOD", "Forwarding method of the sorry server.", "K",
        v.forwarding, least=2, most=7, default="lb_kind",
    ),
    k.bare("ha_suspend", "Check real servers only while an address of the virtual server is on "
           "this host."),
    k.flag("smtp_alert", "Mail of gained and lost quorums.", default="smtp_alert_checker"),
    Keyword(
        "vip_bind_dev", "DEVICE", "Put the addresses of the virtual server on this device when the "
        "quorum is gained, and remove them when it is lost: a routing daemon announces what is "
        "there.", "TD", c.device, least=2,
    ),
    k.block(
        "real_server", "ADDRESS [PORT]", "A real server; without a port it has the service's.",
        read=v.endpoint, least=2, most=3, key="real_servers",
    ),
)  # fmt: skip

_REAL: Final = (
    k.value("weight", "N", "Weight.", v.integer(0, 2**31 - 1), default="1"),
    Keyword(
        "lvs_method", "METHOD", "Forwarding method where it differs from the virtual server's.",
        "K", v.forwarding, least=2, most=7, default="lb_kind",
    ),
    k.value("uthreshold", "N", "No new connections above this many.", v.integer(0, 2**31 - 1),
           default="0: no limit"),
    k.value("lthreshold", "N", "New connections again below this many.", v.integer(0, 2**31 - 1),
           default="0: three quarters of uthreshold"),
    k.command("notify_up", "Run when the server comes up."),
    k.command("notify_down", "Run when the server goes down."),
    *checks.TIMING,
    k.flag("inhibit_on_failure", _INHIBIT),
    checks.VIRTUALHOST,
    k.flag("alpha", checks.ALPHA),
    k.flag("smtp_alert", "Mail when it comes up or goes down.",
           default="smtp_alert_checker, else yes"),
    *checks.BLOCKS,
)  # fmt: skip


def _table(block: str, served: tuple[Keyword, ...]) -> dict[str, Keyword]:
    known = (*served, *unserved.TABLES.get(block, ()))
    return {one.name: dated(block, one) for one in known}


_SERVED: Final = (
    (ROOT, _ROOT),
    ("global_defs", _GLOBAL),
    ("ipvs_sysctls", fullnat.SYSCTL_BLOCK),
    ("virtual_server", _VIRTUAL),
    ("real_server", _REAL),
    *checks.TABLES,
    (state_sync.BLOCK, state_sync.KEYWORDS),
    *vrrp.TABLES,
)

BLOCKS: Final[dict[str, dict[str, Keyword]]] = {
    **{block: _table(block, served) for block, served in _SERVED},
    **{block: _table(block, ()) for block in unserved.BLOCKS},
}
"""Keywords of every block that holds keywords, those that are passed over included."""

NESTED: Final[dict[str, frozenset[str]]] = {
    name: frozenset(keyword.name for keyword in table.values() if keyword.block)
    for name, table in BLOCKS.items()
}
"""Names of the blocks that may stand in a block."""

ENTRY_BLOCKS: Final = {
    "local_address_group": v.local_address,
    "virtual_server_group": v.group_member,
    "deny_address_group": listed_address,
    "allow_address_group": listed_address,
}
"""Blocks that hold entries in place of keywords."""


def homes(name: str) -> list[str]:
    """Return the blocks that know the keyword *name*."""
    return [block for block, table in BLOCKS.items() if name in table]


@lru_cache(maxsize=1024)
def suggest(name: str, block: str) -> str:
    """Return the keyword of *block* that *name* was probably meant to be, or nothing."""
    table = BLOCKS[block]
    folded = {known.lower(): known for known in table}
    exact = folded.get(name.lower().replace("-", "_")) or folded.get(name.lower())
    if exact:
        return exact
    from difflib import get_close_matches  # noqa: PLC0415 - good files need no hints

    close = get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return folded[close[0]] if close else ""
