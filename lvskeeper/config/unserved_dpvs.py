"""Keywords of DPVS's keepalived that are known and not acted on: part of the table."""

from typing import Final

from lvskeeper.config import check_values as c
from lvskeeper.config import keyword as k
from lvskeeper.config import unserved_values as u
from lvskeeper.config import values as v
from lvskeeper.config.keyword import Keyword, noted, refuse

_LISTS: Final = (
    "DPVS's lists of addresses are not served, and who is to be kept out would come in; write a "
    "rule of nftables"
)
_TUNNELS: Final = "tunnels of DPVS are not made here; make the device with ip link add"
_SNAT: Final = "it belongs to DPVS's SNAT services, which are no services of IPVS"
_RATES: Final = "no traffic is dropped for its rate; a rule of nftables can"
_CONHASH: Final = "it belongs to DPVS's scheduler conhash; mh hashes source addresses"
_PROXY: Final = (
    "no PROXY header is sent, and servers that wait for one would refuse all; TOA tells them the "
    "client's address"
)
_QUIC: Final = "connection ids of QUIC are not looked at: a client that moves may change server"
_QUIESCENT: Final = "ipvs_sysctls has expire_quiescent_template and expire_nodest_conn"


def _entries(name: str, doc: str) -> Keyword:
    return Keyword(
        name, "NAME", doc, "D", v.text, least=2, most=2, block=True, entries=u.listed_address
    )


def _value(name: str, args: str, doc: str, read: v.Reader) -> Keyword:
    return k.value(name, args, doc, read, origin="D")


ROOT: Final = (
    noted(_entries("deny_address_group", "`ADDRESS[-LAST]` or `ipset:SET` a line: kept out."),
          "nothing names it but daddr_group_name, which is refused"),
    noted(_entries("allow_address_group", "`ADDRESS[-LAST]` or `ipset:SET` a line: let in."),
          "nothing names it but waddr_group_name, which is refused"),
    refuse(k.block("tunnel_group", "NAME", "Tunnel devices.", "D", read=v.text, least=2, most=2),
           _TUNNELS),
)  # fmt: skip

PROXY: Final = refuse(k.bare("proxy_protocol", "Send PROXY headers to real servers.", "D"), _PROXY)

VIRTUAL: Final = (
    refuse(_value("daddr_group_name", "NAME", "The deny_address_group.", v.text), _LISTS),
    refuse(_value("waddr_group_name", "NAME", "The allow_address_group.", v.text), _LISTS),
    noted(_value("hash_target", "sip|qid", "What conhash hashes.", v.choice("sip", "qid")),
          _CONHASH),
    noted(k.bare("expire_quiescent_conn", "End connections of servers with weight 0.", "D"),
          _QUIESCENT),
    noted(k.bare("quic", "Follow connection ids of QUIC.", "D"), _QUIC),
    refuse(_value("proxy_protocol", "v1|v2|v1-insecure|v2-insecure",
                  "Send PROXY headers to real servers.",
                  v.choice("v1", "v2", "v1-insecure", "v2-insecure")), _PROXY),
    noted(_value("bps", "N", "A limit of traffic.", v.integer(0, 2**31 - 1)), _RATES),
    noted(_value("limit_proportion", "N", "The part of traffic that passes, in per cent.",
                 v.integer(0, 100)), _RATES),
    refuse(_value("src-range", "FIRST-LAST[:PORT-PORT]", "Sources of SNAT.", u.match_range), _SNAT),
    refuse(_value("dst-range", "FIRST-LAST[:PORT-PORT]", "Destinations of SNAT.", u.match_range),
           _SNAT),
    refuse(_value("iif", "DEVICE", "Where packets for SNAT come in.", c.device), _SNAT),
    refuse(_value("oif", "DEVICE", "Where packets for SNAT go out.", c.device), _SNAT),
)  # fmt: skip

TABLES: Final[dict[str, tuple[Keyword, ...]]] = {
    "tunnel_group": (
        refuse(k.block("tunnel_entry", "DEVICE", "A tunnel device.", "D", read=c.device, least=2,
                       most=2), _TUNNELS),
    ),
    "tunnel_entry": (
        refuse(_value("kind", "ipip|gre", "Its kind.", v.choice("ipip", "gre")), _TUNNELS),
        refuse(_value("remote", "ADDRESS", "The other end.", v.address), _TUNNELS),
        refuse(_value("local", "ADDRESS", "Our end.", v.address), _TUNNELS),
        refuse(_value("if", "DEVICE", "The device below.", c.device), _TUNNELS),
    ),
}  # fmt: skip
