"""The load of a director beside VRRP: so many TCP connects a second, as health checks make them.

It stands in for the probe engine: one process, non-blocking sockets, bursts each 10 ms, and a
listener of its own on the loopback. Prints how many connects succeeded, when it is terminated.
"""

import select
import signal
import socket
import struct
import sys
import time

TICK = 0.01
RESET = struct.pack("@ii", 1, 0)
"""SO_LINGER: no TIME_WAIT, or the ports would be used up within 15 s."""


def main(rate: int) -> None:
    """Connect *rate* times a second until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server.setblocking(False)
    there = server.getsockname()
    poll = select.epoll()
    poll.register(server, select.EPOLLIN)
    open_sockets: dict[int, socket.socket] = {}
    done, due = 0, time.monotonic()
    began = due
    while not stopped:
        for _ in range(int(rate * TICK)):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.connect_ex(there)
            open_sockets[client.fileno()] = client
            poll.register(client, select.EPOLLOUT)
        due += TICK
        while (left := due - time.monotonic()) > 0:
            for number, _ in poll.poll(left):
                if number == server.fileno():
                    server.accept()[0].close()
                else:
                    client = open_sockets.pop(number)
                    done += client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                    poll.unregister(client)
                    client.close()
    print(f"{done / (time.monotonic() - began):.0f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
