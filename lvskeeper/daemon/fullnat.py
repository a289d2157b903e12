"""Keeps the nftables table of a stock kernel: FULLNAT, SYN cookies, defences, and its guard."""

import asyncio
import contextlib
import time
from collections.abc import Set as AbstractSet
from dataclasses import replace
from heapq import nsmallest
from typing import Final, final

from lvskeeper.daemon.collector import COLLECTOR
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.ruleset import EMPTY, Measured, differences_from, ruleset_of, union
from lvskeeper.daemon.ruleset_watch import RulesetWatch
from lvskeeper.errors import OperatorError
from lvskeeper.fullnat.content import Content
from lvskeeper.fullnat.ruleset import Ruleset, adopting, changes, render, serving_changes
from lvskeeper.ipvs.types import ServiceKey
from lvskeeper.kernel.nft import Nft
from lvskeeper.kernel.nft_guard import Guard
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

LISTING_SHARE: Final = 0.2
"""Share of the time that may go into listing a table that others' transactions leave alone."""

LISTING_PATIENCE: Final = 10.0
"""Seconds that a listing may take, which never ends while others make one transaction after the
other: some programs bring back thousands of addresses that way."""

SHOWN: Final = 3
"""Differences, or services, told in words in one event."""


@final
class FullnatKeeper:
    """The only writer of our nftables table; its work never waits for that on the IPVS table."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.measured: Measured = {}
        """What the real servers offer; the next :meth:`settle` makes the cookies promise it."""
        self._nft: Nft | None = None
        self._lock = asyncio.Lock()
        self._guard = Guard()
        self._unguarded = False
        self._current = EMPTY
        self._known_generation = -1
        self._watch = RulesetWatch()
        self._next_listing = 0.0
        self._serving: frozenset[ServiceKey] = frozenset()
        self._probed = False
        self._strip = True

    async def prepare(self, spec: DirectorSpec) -> None:
        """Make everything ready for the services of *spec*, before they get into the table.

        New services come behind SYN cookies later, by :meth:`settle`: now they may have no server.
        Raises :class:`OperatorError` where this kernel or its nft cannot do it; nothing has been
        changed then.
        """
        with COLLECTOR.paused():
            wanted = await asyncio.to_thread(ruleset_of, spec, self.measured)
            async with self._lock:
                if self._nft is None:
                    self._nft = await self._open(wanted)
                elif wanted.cookies.used and not self._probed:
                    await self._probe(self._nft, wanted)
                if self._nft is None:
                    return
                between = await asyncio.to_thread(union, self._current, wanted)
                await self._become(self._nft, between)
                self._hold_guard()

    async def settle(self, spec: DirectorSpec, serving: AbstractSet[ServiceKey]) -> None:
        """Leave only what *spec* needs, after the table has followed.

        *serving* are the services that have a real server.
        """
        async with self._lock:
            # Those that came behind cookies since the table began to follow stay there.
            self._serving |= serving
            if self._nft is None:
                return
            with COLLECTOR.paused():
                wanted = await asyncio.to_thread(ruleset_of, spec, self.measured)
                await self._become(self._nft, wanted)
            if not (self._current.services or self._current.cookies.used):
                self._guard.release()

    async def withdraw(self, keys: AbstractSet[ServiceKey]) -> None:
        """Let *keys* be without SYN cookies: they have no real server, or are about to go.

        Their clients would be let in, and wait. Called before the IPVS table follows.
        """
        left = self._serving & keys
        self._serving -= keys
        if not left:
            return
        async with self._lock:
            await self._serve()
        if self._nft is not None:
            self._emit(events.SynProxyChanged(_in_words(left), "left"))

    async def withdraw_others(self, served: AbstractSet[ServiceKey]) -> None:
        """Let all but *served* be without SYN cookies."""
        await self.withdraw(self._serving - served)

    async def admit(self, keys: AbstractSet[ServiceKey]) -> None:
        """Put *keys* behind SYN cookies again; called after the IPVS table has their servers."""
        came = keys - self._serving
        self._serving |= came
        if not came:
            return
        async with self._lock:
            await self._serve()
        if self._nft is not None:
            self._emit(events.SynProxyChanged(_in_words(came), "returned"))

    async def changed(self, patience: float) -> None:
        """Wait until somebody changed the ruleset, at most *patience* seconds."""
        await self._watch.changed(patience)

    def held(self) -> tuple[int, int] | None:
        """Return the packets of real servers and of clients that were held at take-overs.

        ``None`` where none would be.
        """
        if self._nft is None or not self._current.hold.used:
            return None
        with contextlib.suppress(OperatorError):
            servers, clients = map(self._nft.counted, self._current.hold.counters())
            if servers is not None and clients is not None:
                return servers, clients
        return None

    async def check_drift(self) -> None:
        """Repair the ruleset where somebody else changed it, and tell it.

        A table that is gone comes back at once; while others change their own tables all the time,
        ours is listed less often the longer that takes.
        """
        async with self._lock:
            if self._nft is None:
                return
            await self._serve()
            nft, current, generation = self._nft, self._current, self._nft.generation()
            if generation == self._known_generation:
                return
            started = time.monotonic()
            if not nft.table_is_there():
                await self._settle_drift(
                    nft, await _differences(current, None), generation, started
                )
                return
            if started < self._next_listing:
                return
        # Who goes behind SYN cookies or leaves them does not wait for this.
        found = await self._listed(nft, current, started)
        async with self._lock:
            if self._nft is not nft:
                return
            if found and self._current is not current:
                # Amid the listing we changed it ourselves.
                found = await self._listed(nft, self._current, started)
            await self._settle_drift(nft, found, generation, started)

    async def _listed(self, nft: Nft, current: Ruleset, started: float) -> tuple[str, ...]:
        """Return how the table differs from *current*; where it does not, let it rest a while."""
        found: tuple[str, ...] = ()
        try:
            with COLLECTOR.paused():
                # What was read is to be gone when this ends, and so it has no name.
                found = await _differences(current, await nft.read(LISTING_PATIENCE))
        finally:
            if not found:
                now = time.monotonic()
                self._next_listing = now + (now - started) / LISTING_SHARE
        return found

    async def _settle_drift(
        self, nft: Nft, found: tuple[str, ...], generation: int, started: float
    ) -> None:
        """Take that the table is known as of *generation*, or repair what was *found*."""
        if not found:
            self._known_generation = generation
            return
        makers = self._watch.makers(self._known_generation)
        with COLLECTOR.paused():
            text = await asyncio.to_thread(render, self._current)
            self._known_generation = await nft.apply(text)
        took = format_duration(time.monotonic() - started)
        self._emit(events.RulesetRepaired("; ".join(found[:SHOWN]), makers, took))

    async def guard(self) -> None:
        """Try again to put a guard in place that was refused, which a predecessor may have held."""
        async with self._lock:
            if self._unguarded and self._nft is not None:
                self._hold_guard()

    async def remove(self) -> None:
        """Take our tables away, those of an earlier director too."""
        async with self._lock:
            if self._nft is None:
                self._nft = await self._open(EMPTY)
            if self._nft is not None:
                # Not by `_become`, which would keep the hooks of SYN cookies.
                self._known_generation = await self._nft.apply(render(EMPTY))
                self._current, self._serving = EMPTY, frozenset()
                self._emit(events.FullnatApplied(0, 0, 0))
        self.close()

    def close(self) -> None:
        """Let go of the kernel; the guard goes, the ruleset stays."""
        self._guard.release()
        self._watch.stop()
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    async def _open(self, wanted: Ruleset) -> Nft | None:
        """Return nft where there are rules to make, or some that an earlier director left."""
        try:
            nft = Nft()
        except OperatorError:
            if wanted.used:
                raise
            return None
        try:
            if wanted.used:
                await self._probe(nft, wanted)
            generation = nft.generation()
            found = await nft.read()
        except OperatorError:
            nft.close()
            raise
        if found is None and not wanted.used:
            nft.close()
            return None
        await self._adopt(wanted, found, generation)
        self._watch.start()
        return nft

    async def _adopt(self, wanted: Ruleset, found: Content | None, generation: int) -> None:
        """Take over the table *found*, where it is as *wanted*; its hooks and who serves anyhow."""
        self._current = adopting(EMPTY, found)
        if found is not None:
            self._serving = await asyncio.to_thread(_serving, found)
        adopted = await asyncio.to_thread(self._as_it_is, wanted)
        if not await _differences(adopted, found):
            self._current, self._known_generation = adopted, generation

    async def _probe(self, nft: Nft, wanted: Ruleset) -> None:
        """Let the kernel try the statements; do without the one that not every kernel has."""
        try:
            await nft.check(await asyncio.to_thread(render, self._as_it_is(wanted)))
        except OperatorError as error:
            if not (wanted.cookies.used and self._strip):
                raise
            bare = replace(wanted, cookies=replace(wanted.cookies, strip=False))
            await nft.check(await asyncio.to_thread(render, bare))
            self._strip = False
            self._emit(events.TimestampKept(error.message))
        self._probed = wanted.cookies.used

    def _as_it_is(self, wanted: Ruleset) -> Ruleset:
        """Return *wanted* with what does not come from the configuration: hooks, and who serves."""
        cookies = replace(
            wanted.cookies,
            serverless=frozenset(wanted.cookies.proxied.keys() - self._serving),
            hooked=wanted.cookies.used or self._current.cookies.used,
            strip=self._strip,
        )
        return replace(wanted, cookies=cookies)

    async def _become(self, nft: Nft, asked: Ruleset) -> None:
        """Turn the table into what is *asked*: by elements where it is known, else as a whole."""
        wanted = await asyncio.to_thread(self._as_it_is, asked)
        generation = nft.generation()
        # Where somebody's transaction (our guard's, too) came between, it is mostly not about us.
        certain = generation == self._known_generation or await self._is_known(nft)
        text = await asyncio.to_thread(_transaction, self._current if certain else None, wanted)
        if text is None:
            self._known_generation = generation
            return
        if text:
            generation = await nft.apply(text)
        self._known_generation, self._current = generation, wanted
        self._emit(
            events.FullnatApplied(
                len(wanted.services), len(wanted.pools), len(wanted.cookies.proxied)
            )
        )

    async def _is_known(self, nft: Nft) -> bool:
        """Return whether the table is as we left it; who cannot see that does not know it."""
        try:
            return not await _differences(self._current, await nft.read(LISTING_PATIENCE))
        except OperatorError:
            return False

    async def _serve(self) -> None:
        """Let the SYN cookies follow :attr:`serving`, without a look at the whole table."""
        if self._nft is None or not self._current.cookies.proxied:
            return
        wanted, text = await asyncio.to_thread(_followed, self._current, self._serving)
        if not text:
            return
        known = self._nft.generation() == self._known_generation
        try:
            generation = await self._nft.apply(text)
        except OperatorError:
            # The table is not what it was: the whole of it, at once.
            generation = await self._nft.apply(await asyncio.to_thread(render, wanted))
            known = True
        self._current = wanted
        if known:
            self._known_generation = generation

    def _hold_guard(self) -> None:
        cookies = self._current.cookies.used
        if not (self._current.services or cookies):
            return
        try:
            self._guard.hold(cookies=cookies)
        except OperatorError as error:
            if not self._unguarded:
                self._emit(events.GuardMissing(error.message))
            self._unguarded = True
        else:
            self._unguarded = False


def _serving(found: Content) -> frozenset[ServiceKey]:
    return found.serving


def _transaction(current: Ruleset | None, wanted: Ruleset) -> str | None:
    """Return what makes the table as *wanted*; ``None`` where it is, and all of it if unknown."""
    if current is None:
        return render(wanted)
    return None if current == wanted else changes(current, wanted)


def _followed(current: Ruleset, serving: AbstractSet[ServiceKey]) -> tuple[Ruleset, str]:
    """Return *current* with cookies for *serving* alone, and the way there, if any."""
    serverless = frozenset(current.cookies.proxied.keys() - serving)
    if serverless == current.cookies.serverless:
        return current, ""
    cookies = replace(current.cookies, serverless=serverless)
    return replace(current, cookies=cookies), serving_changes(current.cookies, cookies)


async def _differences(wanted: Ruleset, found: Content | None) -> tuple[str, ...]:
    """Compare off the loop: 5,000 services have 20,000 elements."""
    return await asyncio.to_thread(differences_from, wanted, found)


def _in_words(keys: AbstractSet[ServiceKey]) -> str:
    more = len(keys) - SHOWN
    return ", ".join(map(str, nsmallest(SHOWN, keys))) + (f" and {more} more" if more > 0 else "")
