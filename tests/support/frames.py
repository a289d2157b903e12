"""A place for one line in every block of the language."""

from typing import Final

from lvskeeper.config.keywords import BLOCKS, ROOT

_VIRTUAL: Final = "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\n%s\n}\n"
_REAL: Final = _VIRTUAL % "real_server 198.51.100.1 80 {\n%s\n}"
_INSTANCE: Final = "vrrp_instance I {\n%s\n}\n"
_FRAMES: Final = {
    ROOT: "%s\n",
    "virtual_server": _VIRTUAL,
    "real_server": _REAL,
    "url": _REAL % "HTTP_GET {\nurl {\n%s\n}\n}",
    "host": _REAL % "SMTP_CHECK {\nhost {\n%s\n}\n}",
    "authentication": _INSTANCE % "authentication {\n%s\n}",
    "auth_hmac": _INSTANCE % "auth_hmac {\n%s\n}",
    "ipvs_sysctls": "global_defs {\nipvs_sysctls {\n%s\n}\n}\n",
    "tunnel_entry": "tunnel_group G {\ntunnel_entry eth9 {\n%s\n}\n}\n",
}


def frame(block: str) -> str:
    """Return a file with a place for a line in *block*; it is good but for what is missing."""
    if block in _FRAMES:
        return _FRAMES[block]
    if block in BLOCKS["real_server"]:
        return _REAL % f"{block} {{\n%s\n}}"
    head = f"{block} N" if BLOCKS[ROOT][block].read is not None else block
    return f"{head} {{\n%s\n}}\n"
