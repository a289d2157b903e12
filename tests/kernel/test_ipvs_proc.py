"""The files of ``/proc/net`` as kernels write them."""

from lvskeeper.kernel.ipvs_proc import Backend, Totals, parse_backends, parse_totals

TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0000264:0050 wrr persistent 360 FFFFFFFF
  -> C6336401:1F90      Masq    2      17         4
  -> C6336402:1F90      Masq    0      0          1
UDP  [2001:0db8:0000:0000:0000:0000:0000:0064]:0035 rr
  -> [2001:0db8:0000:0000:0000:0000:0000:0001]:0035      Route   1      0          9
FWM  0000000A rr
  -> C6336403:0000      Tunnel  1      3          0
"""

STATS = """\
   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
     1A2     10FF        0           ABCDEF                0

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       1        2        0              100                0
"""


def test_backends_of_all_kinds_of_services() -> None:
    found = list(parse_backends(TABLE.splitlines()))
    assert found == [
        Backend("TCP", "192.0.2.100", 80, "", "198.51.100.1", 8080, 2, 17, 4),
        Backend("TCP", "192.0.2.100", 80, "", "198.51.100.2", 8080, 0, 0, 1),
        Backend("UDP", "2001:db8::64", 53, "", "2001:db8::1", 53, 1, 0, 9),
        Backend("FWM", "", 0, "0000000A", "198.51.100.3", 0, 1, 3, 0),
    ]


def test_totals_are_hexadecimal() -> None:
    assert parse_totals(STATS.splitlines()) == Totals(0x1A2, 0x10FF, 0, 0xABCDEF, 0)
    assert parse_totals([]) == Totals(0, 0, 0, 0, 0)
