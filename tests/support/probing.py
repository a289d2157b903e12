"""Single probes, as the runner of the director makes them."""

import asyncio
from typing import final

from lvskeeper.health.spec import CheckSpec, ProbeResult
from lvskeeper.probes.runner import ProbeRunner


@final
class Prober:
    """Makes probes, and waits for the result of each."""

    def __init__(self) -> None:
        self._results: dict[int, asyncio.Future[ProbeResult]] = {}
        self._runner = ProbeRunner[int](self._on_result)
        self._number = 0

    async def probe(self, spec: CheckSpec) -> ProbeResult:
        """Return the result of one probe; a cancel drops it."""
        self._number += 1
        number = self._number
        future: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
        self._results[number] = future
        self._runner.start(number, spec)
        try:
            return await future
        finally:
            del self._results[number]
            self._runner.cancel(number)

    def forget_files(self) -> None:
        """Let the runner read its files anew."""
        self._runner.forget_files()

    async def close(self) -> None:
        """Close the runner."""
        await self._runner.close()

    def _on_result(self, number: int, result: ProbeResult) -> None:
        self._results[number].set_result(result)


async def probed(spec: CheckSpec) -> ProbeResult:
    """Return the result of one probe of *spec*."""
    prober = Prober()
    try:
        return await prober.probe(spec)
    finally:
        await prober.close()
