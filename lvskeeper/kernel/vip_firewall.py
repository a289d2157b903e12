"""The nftables table of VRRP: what may reach the addresses of a master, what may leave a VMAC.

With ``no_accept`` a master that does not own its addresses answers ARP and neighbour discovery
there, and nothing else (RFC 5798, 6.1, Accept_Mode). IPVS takes its packets before: the virtual
services of such an address go on, unlike with keepalived. A VMAC must not tell switches of its MAC
on a backup, so its IGMP and MLD reports are dropped; who wants the group on its switch joins it on
the interface below.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.nft import Nft
from lvskeeper.units import format_address
from lvskeeper.vrrp.holdings import HeldAddress

FAMILY: Final = "inet"
TABLE: Final = "lvskeeper_vrrp"
PRIORITY: Final = -1
"""Of what leaves: just before ``filter``, as keepalived's; the machine's own rules come after."""
AFTER_IPVS: Final = 110
"""Of what comes in: IPVS has its hooks at 98 and 99 (``NF_IP_PRI_NAT_SRC`` less 2 and 1)."""

_LINK_LOCAL: Final = 0xFE80
_LINK_LOCAL_MASK: Final = 0xFFC0
_DISCOVERY: Final = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
_REPORTS: Final = "icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report }"


@final
class VipFirewall:
    """Holds the table in the network namespace of the process, from the first use to the last.

    Raises :class:`OperatorError` where nft is not there or refuses.
    """

    def __init__(self) -> None:
        self._nft: Nft | None = None
        self._lock: Final = asyncio.Lock()
        self._text = ""
        self._known = 0
        """Generation of the ruleset that has the table as we put it there."""

    async def set(
        self, *, blocked: Collection[HeldAddress] = (), vmacs: Collection[str] = ()
    ) -> None:
        """Let what is *blocked* answer nothing but ARP and ND, and let *vmacs* report no groups.

        This replaces the table in one transaction, in an instant for all packets; nothing is done
        where it holds that already. An address that is not here may be blocked all the same, so
        that a take-over need not wait for nft (10 to 30 ms).
        """
        text = table_text(blocked, vmacs)
        async with self._lock:
            if text == self._text:
                return
            await self._apply(text)
            self._text = text

    async def renew(self) -> bool:
        """Put the table in place again where somebody changed the ruleset; return if so."""
        async with self._lock:
            if not self._text or self._nft is None or self._nft.generation() == self._known:
                return False
            await self._apply(self._text)
            return True

    async def sweep(self) -> None:
        """Remove the table that a predecessor may have left, when none is in use here."""
        async with self._lock:
            if not self._text:
                await self._apply("")

    async def close(self) -> None:
        """Remove the table, if one was made."""
        try:
            await self.set()
        finally:
            if self._nft is not None:
                self._nft.close()
                self._nft = None

    async def _apply(self, text: str) -> None:
        if self._nft is None:
            self._nft = _open()
        # Adding first makes deleting right whether it is there or not
        renewal = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n{text}"
        self._known = await self._nft.apply(renewal)


def _open() -> Nft:
    try:
        # The router is to live through a fault of the library.
        return Nft(library=None)
    except OperatorError as error:
        if error.status is not ExitStatus.UNSUPPORTED:
            raise
        raise OperatorError(
            "no nftables here: no_accept and use_vmac are without effect on packets",
            status=error.status,
            hint=error.hint,
        ) from error


def table_text(blocked: Collection[HeldAddress], vmacs: Collection[str]) -> str:
    """Return the table for nft, nothing where there is nothing to block.

    Raises ``ValueError`` for the name of a device that nft could misread.
    """
    if not blocked and not vmacs:
        return ""
    four = {held.address for held in blocked if len(held.address) == 4}
    local = {(held.address, held.device) for held in blocked if _is_link_local(held)}
    six = {held.address for held in blocked if len(held.address) == 16 and not _is_link_local(held)}
    near = [f"{format_address(address)} . {_quoted(device)}" for address, device in sorted(local)]
    return "\n".join(
        [
            f"table {FAMILY} {TABLE} {{",
            _set("vips4", "ipv4_addr", map(format_address, sorted(four))),
            _set("vips6", "ipv6_addr", map(format_address, sorted(six))),
            _set("link_local", "ipv6_addr . ifname", near),
            _set("vmacs", "ifname", map(_quoted, sorted(set(vmacs)))),
            f"  chain in {{ type filter hook input priority {AFTER_IPVS}; policy accept;",
            f"    {_DISCOVERY}",
            "    ip daddr @vips4 drop",
            "    ip6 daddr @vips6 drop",
            "    ip6 daddr . iifname @link_local drop",
            "  }",
            f"  chain out {{ type filter hook output priority {PRIORITY}; policy accept;",
            "    oifname @vmacs ip protocol igmp drop",
            f"    oifname @vmacs {_REPORTS} drop",
            f"    {_DISCOVERY}",
            "    ip saddr @vips4 drop",
            "    ip6 saddr @vips6 drop",
            "    ip6 saddr . oifname @link_local drop",
            "  }",
            "}",
            "",
        ]
    )


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    content = ", ".join(elements)
    inside = f" elements = {{ {content} }};" if content else ""
    return f"  set {name} {{ type {kind};{inside} }}"


def _is_link_local(held: HeldAddress) -> bool:
    start = int.from_bytes(held.address[:2], "big")
    return len(held.address) == 16 and start & _LINK_LOCAL_MASK == _LINK_LOCAL


def _quoted(name: str) -> str:
    if '"' in name or name.endswith("*") or not name.isprintable():
        raise ValueError(f"nft has no words for an interface named {name!r}")
    return f'"{name}"'
