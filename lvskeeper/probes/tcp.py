"""TCP_CHECK: find out whether a connection can be made."""

import asyncio

from lvskeeper.health.spec import CheckSpec, ProbeResult
from lvskeeper.probes.attempt import Progress, attempt
from lvskeeper.probes.stream import connect


async def probe_tcp(spec: CheckSpec) -> ProbeResult:
    """Connect once to the address and port of *spec*, within ``connect_timeout``."""

    async def work(progress: Progress) -> None:
        async with asyncio.timeout(spec.connect_timeout):
            sock = await connect((spec.address, spec.port), spec.source, progress)
        sock.close()

    return await attempt(work, spec.connect_timeout)
