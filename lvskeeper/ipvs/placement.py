"""Which CPU a FULLNAT kernel of the third generation serves a LIP on.

There each service exists once a CPU and a LIP belongs to one of them. A client is served by the CPU
that its packets arrive on, with the LIPs of that CPU; where there is none it is refused.
"""

from collections.abc import Iterable

from lvskeeper.units import Address


def cpu_of(address: Address, online: int, reserved: int = 0) -> int:
    """Return the CPU of the LIP *address*, with *online* CPUs of which *reserved* carry no data.

    The last byte alone decides, of both families (``ip_vs_ctl.c`` of that kernel).
    Raises :class:`ValueError` where no CPU is left for data: that kernel divides by zero.
    """
    if not 0 <= reserved < online:
        raise ValueError(f"{reserved} of {online} CPUs reserved: none is left for data")
    return reserved + address[-1] % (online - reserved)


def uncovered(addresses: Iterable[Address], online: int, reserved: int = 0) -> tuple[int, ...]:
    """Return the CPUs for data that have none of the LIPs *addresses*, in order.

    With no data CPU at all it is none. *online* - *reserved* addresses in a row cover all.
    """
    if not 0 <= reserved < online:
        return ()
    covered = {cpu_of(address, online, reserved) for address in addresses}
    return tuple(cpu for cpu in range(reserved, online) if cpu not in covered)
