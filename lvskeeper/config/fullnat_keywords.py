"""Keywords of SYNPROXY, the defences and IPVS settings: part of the table of keywords."""

from typing import Final

from lvskeeper.config import keyword as k
from lvskeeper.config import values as v
from lvskeeper.config.keyword import Keyword
from lvskeeper.ipvs.dialect import Dialect
from lvskeeper.ipvs.sysctl_table import OTHER_FORM, SYSCTLS, Sysctl

MIN_MSS: Final = 536
"""What every TCP takes (RFC 9293, 3.7.1)."""
MAX_MSS: Final = 65_495
"""An IPv4 packet of the greatest size, less its headers."""
MAX_WSCALE: Final = 14
"""RFC 7323, 2.3."""
MAX_FLOOD_RATE: Final = 1_000_000_000

_FOLLOWS: Final = "`auto` follows the real servers, as they were measured; until then"


def _shared(place: str) -> tuple[Keyword, ...]:
    """Return what both a virtual server and ``global_defs`` take."""
    return (
        k.value("syn_proxy_mss", "N|auto",
                f"`syn_proxy`: segment size that clients are told. {_FOLLOWS} 1460 for IPv4 and "
                f"1440 for IPv6.{place}",
                v.number_or_auto(MIN_MSS, MAX_MSS), default="auto", origin="L"),
        k.value("syn_proxy_wscale", "N|auto",
                f"`syn_proxy`: window scale that clients are told. {_FOLLOWS} 7.{place}",
                v.number_or_auto(0, MAX_WSCALE), default="auto", origin="L"),
        k.flag("syn_proxy_timestamp",
               "`syn_proxy`: clients may use timestamps. Without them stock kernels promise "
               f"neither window scale nor SACK.{place}", "L", default="yes"),
        k.flag("syn_proxy_sack", f"`syn_proxy`: clients may use SACK.{place}", "L", default="yes"),
        Keyword("defence_tcp_drop", "[yes|no|vip]",
                "NAT and FNAT: drop TCP segments, other than SYN, that belong to no connection. "
                "`vip` drops also all TCP to ports of the address that no virtual server has: SSH "
                f"and BGP to the director at this address are cut.{place}",
                "L", v.tcp_defence, default="no"),
        k.flag("defence_udp_drop",
               f"Drop UDP to the address unless a UDP virtual server has it, too.{place}", "L"),
        k.flag("defence_frag_drop",
               f"Drop fragments to the address, those of UDP services included.{place}", "L"),
    )  # fmt: skip


VIRTUAL: Final = (
    k.bare(
        "syn_proxy",
        "Answer SYNs with cookies: a real server hears of a client after its handshake. TCP with "
        "NAT or FNAT. The options that follow are for stock kernels; FULLNAT kernels have "
        "`synproxy_*` in `ipvs_sysctls`, for all virtual servers. For IPv6 the network card has to "
        "verify checksums in a way that stock kernels do not check once more, by the rules of "
        "IPv4: most do; mlx5 after `ethtool --set-priv-flags DEVICE rx_no_csum_complete on`.", "TD",
    ),
    *_shared(""),
    Keyword(
        "laddr_ports", "FIRST-LAST",
        "FNAT: source ports on the LIPs, on stock kernels. FULLNAT kernels have "
        "`fullnat_lport_min` and `fullnat_lport_max` in `ipvs_sysctls`, for all virtual servers.",
        "L", v.local_ports, least=2, default="1024-65535",
    ),
)  # fmt: skip

GLOBALS: Final = (
    *_shared(" For virtual servers that do not say."),
    k.value("syn_flood_rate", "N",
            "`syn_proxy`: SYNs a second without a handshake from which on a flood is told.",
            v.integer(1, MAX_FLOOD_RATE), default="1000", origin="L"),
    k.block(
        "ipvs_sysctls", "",
        "Settings below `net.ipv4.vs`, written whenever the configuration is applied and read "
        "back, with `lvs_manage_sysctls no`, too. What this kernel lacks is told and passed over.",
        "L",
    ),
)  # fmt: skip


def _kernels(sysctl: Sysctl) -> str:
    match sorted(kernel.value for kernel in sysctl.kernels):
        case ["mainline"]:
            return "Stock kernels."
        case ["fork-v3"]:
            return "FULLNAT kernels, v3."
        case ["fork-v2", "fork-v3"]:
            return "FULLNAT kernels."
        case kernels:
            assert len(kernels) == len(Dialect)
            return "All kernels."


SYSCTL_BLOCK: Final = (
    *(
        Keyword(
            one.name, f"{one.low}..{one.high}", f"{one.meaning} {_kernels(one)}", "L",
            v.signed(one.low, one.high), least=2, default=one.default,
        )
        for one in SYSCTLS.values()
    ),
    *(
        k.refused(
            name, f"Takes {form}.", f"it takes {form}, not one number; set it with sysctl(8)", "L"
        )
        for name, form in OTHER_FORM.items()
    ),
)  # fmt: skip
