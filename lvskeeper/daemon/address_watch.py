"""Which addresses this host has, and on which devices: a copy that follows the kernel's news."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Final, assert_never, final

from lvskeeper.kernel.monitor import Overrun
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.kernel.rtnetlink_codec import Link, PresentAddress
from lvskeeper.kernel.rtnetlink_monitor import (
    AddressNews,
    LinkNews,
    RouteMonitor,
    RouteNews,
    RuleNews,
)
from lvskeeper.units import Address


@final
class AddressWatch:
    """*on_change* is called when links or addresses have changed. It hears nothing until opened."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change: Final = on_change
        self._monitor: RouteMonitor | None = None
        self._devices: dict[str, int] = {}
        self._found: set[tuple[Address, int, int]] = set()
        """Address, prefix length and index of the device."""
        self._local: Counter[Address] = Counter()
        self._placed: Counter[tuple[Address, int]] = Counter()
        self._stale = True
        self._reading = asyncio.Lock()

    def open(self) -> None:
        """Begin to listen, unless it does; raise :class:`OperatorError` where that is refused."""
        if self._monitor is None:
            self._monitor = RouteMonitor()
            self._stale = True
            asyncio.get_running_loop().add_reader(self._monitor.fileno(), self._on_news)

    def close(self) -> None:
        """Listen no more."""
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    async def refresh(self) -> None:
        """Read all anew, in a thread, where what is known is out of date; raise as the kernel does.

        News that come meanwhile are heard afterwards: what they tell is no older than the dump, or
        is told again by a later one.
        """
        async with self._reading:
            if self._stale:
                await self._read()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        self._stale = False
        if self._monitor is not None:
            loop.remove_reader(self._monitor.fileno())
        try:
            links, addresses = await asyncio.to_thread(_dump)
        except BaseException:
            self._stale = True
            raise
        finally:
            if self._monitor is not None:
                loop.add_reader(self._monitor.fileno(), self._on_news)
        self._devices = {link.name: link.index for link in links}
        self._found.clear()
        self._local.clear()
        self._placed.clear()
        for present in addresses:
            self._note(present, gone=False)

    def has(self, address: Address) -> bool:
        """Return whether *address* is on any device."""
        return self._local[address] > 0

    def stands(self, address: Address, device: str) -> bool:
        """Return whether *address* is on *device*, with any prefix length."""
        index = self._devices.get(device)
        return index is not None and self._placed[address, index] > 0

    def _on_news(self) -> None:
        assert self._monitor is not None
        news = self._monitor.drain()
        for item in news:
            match item:
                case AddressNews(present=present, gone=gone):
                    self._note(present, gone=gone)
                case LinkNews(link=link, gone=gone):
                    self._note_link(link, gone=gone)
                case Overrun():
                    self._stale = True
                case RouteNews() | RuleNews():
                    pass
                case _:
                    assert_never(item)
        if news:
            self._on_change()

    def _note(self, present: PresentAddress, *, gone: bool) -> None:
        item = (present.address, present.prefix, present.index)
        if gone is not (item in self._found):
            return  # told already
        if gone:
            self._found.discard(item)
        else:
            self._found.add(item)
        step = -1 if gone else 1
        self._local[present.address] += step
        self._placed[present.address, present.index] += step

    def _note_link(self, link: Link, *, gone: bool) -> None:
        for name in [name for name, index in self._devices.items() if index == link.index]:
            del self._devices[name]
        if not gone:
            self._devices[link.name] = link.index


def _dump() -> tuple[tuple[Link, ...], tuple[PresentAddress, ...]]:
    with closing(RouteClient()) as client:
        return client.links(), client.addresses()
