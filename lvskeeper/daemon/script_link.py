"""The role's side of the script host: starts it, talks to it, notices its end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, final

import msgspec

from lvskeeper.daemon.children import PATH, Child
from lvskeeper.daemon.packets import Packets, packet_pair
from lvskeeper.daemon.script_host import ToHost, ToRole

CLOSE_WAIT: Final = 2.0
"""Seconds for the host to end its scripts and itself before it is killed."""


@final
class ScriptLink:
    """At most one host process. *on_lost* gets the reason when it ends unasked."""

    def __init__(
        self, on_message: Callable[[ToRole], None], on_lost: Callable[[str], None]
    ) -> None:
        self._on_message: Final = on_message
        self._on_lost: Final = on_lost
        self._decoder: Final[msgspec.json.Decoder[ToRole]] = msgspec.json.Decoder(ToRole)
        self._encoder: Final = msgspec.json.Encoder()
        self._packets: Packets | None = None
        self._child: Child | None = None
        self.ready = False
        """The host has said that it is."""

    @property
    def up(self) -> bool:
        """Whether there is a host to send to."""
        return self._packets is not None

    def start(self) -> None:
        """Start a host; raise ``OSError`` where that fails. It may be sent to at once."""
        loop = asyncio.get_running_loop()
        ours, theirs = packet_pair()
        try:
            # -P: nothing is imported from the working directory but what we import from it.
            argv = (
                sys.executable,
                "-P",
                "-m",
                "lvskeeper.daemon.script_host",
                f"{theirs.fileno()}",
            )
            paths = os.pathsep.join(path for path in sys.path if path)
            env = {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONPATH": paths}
            self._child = Child(argv, env, keep=(theirs.fileno(),), trusted=True)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.ready = False
        self._packets = Packets(loop, ours, self._on_packet, self._on_end)

    def send(self, message: ToHost) -> None:
        """Send, or drop where no host is. Raises ``ValueError`` for what is too long."""
        if self._packets is not None:
            self._packets.send(self._encoder.encode(message))

    def lose(self, reason: str) -> None:
        """Give up a host that stands still, or has ended."""
        if self._packets is None or self._child is None:
            return
        self._packets.close()
        self._child.signal(signal.SIGKILL)
        self._packets = self._child = None
        self.ready = False
        self._on_lost(reason)

    async def close(self) -> bool:
        """End the host and all its scripts; tell whether it took no more than its time."""
        if self._packets is None or self._child is None:
            return True
        child, packets = self._child, self._packets
        self._packets = self._child = None
        self.ready = False
        packets.close()
        await asyncio.wait((child.ended,), timeout=CLOSE_WAIT)
        if child.ended.done():
            return True
        child.signal(signal.SIGKILL)
        await asyncio.wait((child.ended,), timeout=CLOSE_WAIT)
        return False

    def _on_packet(self, packet: bytes) -> None:
        message = self._decoder.decode(packet)
        self.ready = True
        self._on_message(message)

    def _on_end(self) -> None:
        self.lose("it has ended")
