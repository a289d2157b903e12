"""``lvskeeper`` on the IPVS table of a :class:`~support.table_server.TableServer`.

``python -m support.on_table SOCKET COMMAND ...`` does what ``lvskeeper COMMAND ...`` would.
"""

import sys
from pathlib import Path

from support.table_server import TableSocket

from lvskeeper.cli.main import main
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.ipvs_reader import ReadingSocket


def run() -> int:
    path = Path(sys.argv[1])
    for kind in (IpvsClient, ReadingSocket):
        # The default of the socket factory; nothing else of the program is another one
        kind.__init__.__defaults__ = (lambda: TableSocket(path),)
    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(run())
