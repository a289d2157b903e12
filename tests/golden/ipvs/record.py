"""Record what ipvsadm and a mainline kernel say to each other, as ``mainline-ipvsadm.jsonl``.

Run it as root in a throw-away machine with ip_vs and nlmon, in a network namespace of its own:
``unshare -n record.py OUTPUT``. The lines have the form of the other captures (see README.md).
"""

import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NETLINK_GENERIC: Final = 16
NLM_F_REQUEST: Final = 1
QUIET: Final = 0.2

COMMANDS: Final = """
-C
-Ln
--set 0 0 0
-L --timeout
--set 600 60 200
-L --timeout
--set 900 120 300
-L --daemon
--start-daemon master --mcast-interface dummy0 --syncid 7
--start-daemon master --mcast-interface dummy0 --syncid 7
--start-daemon backup --mcast-interface dummy0 --syncid 8 --sync-maxlen 1400\
 --mcast-group 224.0.0.90 --mcast-port 8849 --mcast-ttl 2
--start-daemon backup --mcast-interface nonesuch
-L --daemon
--stop-daemon master
--stop-daemon backup
--stop-daemon backup
--start-daemon master --mcast-interface dummy0\
 --mcast-group ff02::5a --mcast-port 8850 --mcast-ttl 1
-L --daemon
--stop-daemon master
-A -t 192.0.2.10:80 -s rr
-A -t 192.0.2.10:80 -s rr
-A -t 192.0.2.11:80 -s nonesuch
-E -t 192.0.2.10:80 -s wlc
-E -t 192.0.2.99:80 -s wlc
-A -u 192.0.2.30:53 -s rr -o
-A -t 192.0.2.20:443 -s sh -b sh-port,sh-fallback
-A -t 192.0.2.21:443 -s mh -b mh-port
-A -t 192.0.2.22:443 -s wrr -p 300
-A -t 192.0.2.23:443 -s wrr -p 300 -M 255.255.255.0
-E -t 192.0.2.23:443 -s wrr -p 60 -M 255.255.0.0
-E -t 192.0.2.22:443 -s wrr
-A -t 192.0.2.24:0 -s lc -p 120
-A --sctp-service 192.0.2.25:99 -s lblc
-A -u 192.0.2.31:5060 -s rr -p 60 --pe sip
-A -f 7 -s wlc
-A -f 9 -6 -s sed
-A -t [2001:db8::10]:80 -s nq
-A -t [2001:db8::11]:80 -s wrr -p 90 -M 64
-A -u [2001:db8::30]:53 -s rr --ops
-a -t 192.0.2.10:80 -r 198.51.100.1:8080 -m
-a -t 192.0.2.10:80 -r 198.51.100.1:8080 -m
-a -t 192.0.2.10:80 -r 198.51.100.2:8080 -m -w 5 -x 100 -y 50
-a -t 192.0.2.10:80 -r 198.51.100.3:80 -g -w 0
-a -t 192.0.2.10:80 -r 198.51.100.4:80 -i
-a -t 192.0.2.10:80 -r 198.51.100.5:80 -i --tun-type gue --tun-port 6080
-a -t 192.0.2.10:80 -r 198.51.100.6:80 -i --tun-type gue --tun-port 6080 --tun-csum
-a -t 192.0.2.10:80 -r 198.51.100.7:80 -i --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 192.0.2.10:80 -r 198.51.100.8:80 -i --tun-type gre --tun-csum
-a -t 192.0.2.10:80 -r [2001:db8:1::4]:80 -i
-a -t 192.0.2.10:80 -r 127.0.0.1:80 -m
-a -t 192.0.2.10:80 -r 224.0.0.1:80 -m
-a -t 192.0.2.98:80 -r 198.51.100.1:8080 -m
-a -t 192.0.2.10:80 -r 198.51.100.9:80 -m -x 1 -y 2
-e -t 192.0.2.10:80 -r 198.51.100.1:8080 -m -w 7
-e -t 192.0.2.10:80 -r 198.51.100.1:8080 -g -w 7
-e -t 192.0.2.10:80 -r 198.51.100.77:8080 -m -w 7
-d -t 192.0.2.10:80 -r 198.51.100.77:8080
-d -t 192.0.2.10:80 -r 198.51.100.3:80
-a -f 7 -r 198.51.100.1:0 -g -w 3
-a -f 9 -6 -r [2001:db8:1::1]:0 -g -w 3
-a -t [2001:db8::10]:80 -r [2001:db8:1::1]:8080 -m -w 2
-a -t [2001:db8::10]:80 -r [2001:db8:1::2]:80 -i -w 2
-a -t [2001:db8::10]:80 -r 198.51.100.4:80 -i
-a -t [2001:db8::10]:80 -r [::1]:8080 -m -w 2
-e -t [2001:db8::10]:80 -r [2001:db8:1::1]:8080 -m -w 9
-Ln
-Ln --stats
-Ln --rate
-Ln --thresholds
-Sn
-Ln -t 192.0.2.10:80
-Ln -t [2001:db8::10]:80
-Ln -f 7
-Ln -t 192.0.2.97:80
-Z -t 192.0.2.10:80
-Z
-Z -t 192.0.2.97:80
-d -t [2001:db8::10]:80 -r [2001:db8:1::1]:8080
-D -t [2001:db8::10]:80
-D -t 192.0.2.97:80
-D -f 7
-D -f 9 -6
-C
-Ln
"""


def drain(monitor: socket.socket) -> Iterator[tuple[str, bytes]]:
    """Yield direction and bytes of what was recorded, until it is quiet."""
    monitor.settimeout(QUIET)
    while True:
        try:
            data, address = monitor.recvfrom(1 << 20)
        except TimeoutError:
            return
        if address[1] == NETLINK_GENERIC:
            yield ("to_kernel" if data[6] & NLM_F_REQUEST else "from_kernel"), data


def main() -> None:
    """Record every command in order."""
    subprocess.run(["modprobe", "-a", "ip_vs", "nlmon", "ip_vs_pe_sip"], check=True)
    for command in ("link set lo up",
                    "link add dummy0 type dummy", "addr add 198.51.100.200/24 dev dummy0",
                    "addr add 2001:db8:1::200/64 dev dummy0 nodad",
                    "link set dummy0 up multicast on",
                    "link add nlmon0 type nlmon", "link set nlmon0 up"):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    time.sleep(1)
    monitor = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    monitor.bind(("nlmon0", 0))
    lines = []
    list(drain(monitor))
    for command in COMMANDS.strip().splitlines():
        argv = ["ipvsadm", *shlex.split(command)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        for direction, data in drain(monitor):
            lines.append({"tool": "ipvsadm", "argv": argv, "dir": direction, "rc": len(data),
                          "hex": data.hex()})  # fmt: skip
        lines.append({"tool": "ipvsadm", "argv": argv, "dir": "exit", "rc": done.returncode,
                      "stdout": done.stdout, "stderr": done.stderr})  # fmt: skip
    Path(sys.argv[1]).write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
