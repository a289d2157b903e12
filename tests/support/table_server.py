"""An IPVS table that outlives the daemons which use it: a :class:`FakeIpvs` behind a unix socket.

``python -m support.on_table SOCKET run ...`` runs a whole daemon on it.
"""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Final, Self

from support.fake_ipvs import FakeIpvs

from lvskeeper.ipvs.wire import messages

LARGEST: Final = 1 << 20
PATIENCE: Final = 10.0


class TableServer:
    """Serves *kernel* at *path* for as long as the context lasts."""

    def __init__(self, kernel: FakeIpvs, path: Path) -> None:
        self.kernel = kernel
        self.path = path
        self.lock = threading.Lock()
        """Held while a request is carried out."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(LARGEST):
                answers = []
                for _, _, start, end in messages(data):
                    with self.lock:
                        answers += self.kernel.answer(data[start:end])
                for answer in answers:
                    client.send(answer)


class TableSocket:
    """The daemon's end."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))

    def send(self, data: bytes, /) -> None:
        self._socket.send(data)

    def recv(self) -> bytes:
        return self._socket.recv(LARGEST)

    def close(self) -> None:
        self._socket.close()
