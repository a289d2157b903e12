"""Changes the schedulers of this namespace's services again and again, as the director does.

``python -m support.rescheduler TIMES [HUSH]``; without HUSH as keepalived and ipvsadm do.
"""

import asyncio
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Final

from lvskeeper.daemon.table import TableKeeper
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.nft_hush import Hush

PAUSE: Final = 0.1


async def change(times: int, *, hushed: bool) -> None:
    """Change them *times* times."""
    client = IpvsClient()
    client.open()
    keeper = TableKeeper(client, lambda _: None, Hush() if hushed else nullcontext())
    table = client.table()
    for turn in range(times):
        scheduler = ("wrr", "lc", "rr")[turn % 3]
        keeper.want({
            key: replace(entry, service=replace(entry.service, scheduler=scheduler))
            for key, entry in table.items()
        })  # fmt: skip
        outcome = await keeper.sync()
        assert not outcome.refused
        assert outcome.operations == len(table)
        await asyncio.sleep(PAUSE)
    client.close()


if __name__ == "__main__":
    asyncio.run(change(int(sys.argv[1]), hushed=len(sys.argv) > 2))
