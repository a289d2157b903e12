"""``make bench``: prints how lvskeeper compares with keepalived and ipvsadm, side by side.

All figures are taken in one run: CPU seconds (user and system), for VRRP fail-over times too.
VRRP runs on this host in network namespaces, in SCHED_RR on both sides. Programming and the data
path run in a VM that counts instructions as time, so that other load of the machine does not show.
"""

import compileall
import os
import sys
import time
from pathlib import Path

from bench import (
    check,
    checks,
    loop_waits,
    lost_time,
    memory,
    nft_elements,
    reload,
    vrrp_failover,
    vrrp_scale,
)
from bench.measure import HEADING

from lvskeeper.lab.qemu import Machine
from lvskeeper.lab.vm import run_where_ipvs_is


def main() -> int:
    """Run all benchmarks; return the exit status of what runs in the VM."""
    started = time.monotonic()
    tests = Path(__file__).parents[1]
    os.environ["PYTHONPATH"] = str(tests)
    # As installed: no source is compiled at a start, whatever was edited since the last one.
    for folder in (tests.parent / "lvskeeper", tests / "bench", tests / "support"):
        compileall.compile_dir(folder, quiet=1)
    print("Seconds, of CPU unless it says so: ours, the anchor's, their ratio; less is better.")
    print(HEADING, flush=True)
    check.main()
    nft_elements.main()
    loop_waits.main()
    reload.main()
    checks.main()
    print("     VRRP: both daemons read the same file, with vrrp_rt_priority 20 (SCHED_RR)")
    memory.main()
    vrrp_failover.main()
    vrrp_scale.main()
    print("     state sync: all links of a director are cut; conntrackd on both sides")
    lost_time.main()
    machine = Machine(cpus=1, memory_mib=2048, icount=True, timeout=2400)
    status = run_where_ipvs_is(
        ["env", f"PYTHONPATH={tests}", sys.executable, "-m", "bench.counted"], machine
    )
    print(f"took {time.monotonic() - started:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
