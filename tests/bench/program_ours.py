"""One phase of the benchmark in a process of its own: ``program`` or ``noop``; prints JSON."""

import gc
import json
import sys
import time

from support.bigtable import big_table

from lvskeeper.ipvs.diff import diff
from lvskeeper.kernel.ipvs import IpvsClient


def main() -> None:
    """Bring the table about, or find twice that nothing is to be done; tell the CPU seconds."""
    phase, services, destinations = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    desired = big_table(services, destinations)
    client = IpvsClient()
    client.open()
    gc.collect()
    gc.disable()
    rounds = []
    for _ in range(1 if phase == "program" else 2):
        before = time.process_time()
        operations = diff(desired, client.table(), owned=frozenset(desired))
        failures = client.apply(operations)
        rounds.append(time.process_time() - before)
        if failures:
            sys.exit(f"{len(failures)} operations refused, the first: {failures[0].message}")
        if bool(operations) is (phase == "noop"):
            sys.exit(f"{phase} made {len(operations)} operations")
    print(json.dumps(rounds))


if __name__ == "__main__":
    main()
