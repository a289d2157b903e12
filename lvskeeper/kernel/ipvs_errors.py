"""What the kernel means by an error number, in an operator's words."""

import errno
import os

from lvskeeper.ipvs.operation import (
    AddDest,
    AddLocal,
    AddService,
    DelDest,
    DelLocal,
    DelService,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import Service

_ANY = {
    errno.EPERM: "not permitted; CAP_NET_ADMIN is needed (run as root)",
    errno.EACCES: "not permitted; CAP_NET_ADMIN is needed (run as root)",
    errno.EOPNOTSUPP: "this kernel does not know the command",
    errno.EAFNOSUPPORT: "this kernel's IPVS was built without IPv6",
    errno.ENOMEM: "the kernel is out of memory",
}

_LOCAL = {
    errno.EEXIST: "it is there already",
    errno.ESRCH: "the service is gone: another program deleted it",
    errno.ENOENT: "it is gone: another program deleted it",
    errno.EINVAL: "the kernel takes no such local address; it must be of the service's family",
    errno.EOPNOTSUPP: "this kernel has no local addresses: its IPVS is not a FULLNAT kernel's",
    errno.EAFNOSUPPORT: "this kernel's IPVS was built without IPv6: use a pool of IPv4 addresses",
}


def explain(operation: Operation, number: int) -> str:
    """Return one line: the operation, why it was refused, and what helps."""
    reason = _reason(operation, number) or _ANY.get(number) or os.strerror(number)
    return f"cannot {operation}: {reason}"


def _reason(operation: Operation, number: int) -> str:
    match operation:
        case AddService(wanted=service) | SetService(wanted=service):
            return _service_reason(service, number)
        case DelService():
            return "it is gone already" if number == errno.ESRCH else ""
        case AddDest() | SetDest() | DelDest():
            return _destination_reason(number)
        case AddLocal() | DelLocal():
            return _LOCAL.get(number, "")


def _service_reason(service: Service, number: int) -> str:
    match number:
        case errno.EEXIST:
            return "it is there already, made by another program"
        case errno.ESRCH:
            return "it is gone: another program deleted it"
        case errno.ENOENT:
            scheduler = service.scheduler
            text = (
                f"scheduler {scheduler} is not available in this kernel (module ip_vs_{scheduler})"
            )
            if service.engine:
                text += (
                    f", or persistence engine {service.engine} (module ip_vs_pe_{service.engine})"
                )
            return text
        case errno.EINVAL:
            return "the kernel takes no such flags, persistence or address"
        case errno.ERANGE:
            return "the name of the scheduler or persistence engine is too long for this kernel"
        case _:
            return ""


def _destination_reason(number: int) -> str:
    match number:
        case errno.EEXIST:
            return "it is there already, made by another program"
        case errno.ESRCH:
            return "the service is gone: another program deleted it"
        case errno.ENOENT:
            return "it is gone: another program deleted it"
        case errno.EINVAL:
            return (
                "the kernel takes no such real server (it must be unicast, of the service's family"
                " unless tunnelled; and lo must be up)"
            )
        case errno.ERANGE:
            return "weight must not be negative, nor the lower threshold above the upper one"
        case _:
            return ""
