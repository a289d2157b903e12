"""What is told of real and virtual servers in lines of pipes and in mails, in keepalived's words.

keepalived 2.4.3 ends its lines with a NUL behind the newline; these end with the newline.
"""

from typing import Literal, TypeAlias

from lvskeeper.daemon.roles import RealServerSpec, VirtualServerSpec
from lvskeeper.ipvs.types import ServiceKey
from lvskeeper.units import Address, format_address

UpDown: TypeAlias = Literal["UP", "DOWN"]


def service_label(key: ServiceKey) -> str:
    """Return the name of a service: ``[192.0.2.1]:tcp:80``, or ``FWM 7``."""
    if key.fwmark:
        return f"FWM {key.fwmark}"
    return _trio(key.address, key.protocol.name.lower(), key.port)


def server_label(virtual: VirtualServerSpec, server: RealServerSpec) -> str:
    """Return the name of a real server; without a port of its own it has the first service's."""
    key = virtual.keys[0]
    protocol = "none" if key.fwmark else key.protocol.name.lower()
    return _trio(server.address, protocol, server.port or key.port)


def server_line(virtual: VirtualServerSpec, server: RealServerSpec, state: UpDown) -> bytes:
    """Return the line of a pipe for a real server."""
    return f"RS {server_label(virtual, server)} {virtual.label} {state}\n".encode()


def virtual_line(virtual: VirtualServerSpec, state: UpDown) -> bytes:
    """Return the line of a pipe for a virtual server."""
    return f"VS {virtual.label} {state}\n".encode()


def server_subject(
    router_id: str, virtual: VirtualServerSpec, server: RealServerSpec, state: UpDown
) -> str:
    """Return the subject of a mail of a real server."""
    label = server_label(virtual, server)
    return f"{_router(router_id)}Realserver {label} of virtual server {virtual.label} - {state}"


def virtual_subject(router_id: str, virtual: VirtualServerSpec, state: UpDown) -> str:
    """Return the subject of a mail of a virtual server."""
    return f"{_router(router_id)}Virtualserver {virtual.label} - {state}"


def _router(router_id: str) -> str:
    return f"[{router_id}] " if router_id else ""


def _trio(address: Address, protocol: str, port: int) -> str:
    return f"[{format_address(address)}]:{protocol}:{port}"
