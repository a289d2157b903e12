"""UDP_CHECK: send a datagram; a server that is not there is told by ICMP, or by silence.

Without ``require_reply`` silence is well, as in keepalived, after the whole ``connect_timeout``: an
ICMP error may come until then. An answer of any kind ends the wait.
"""

from typing import final

from lvskeeper.health.spec import Phase, Udp
from lvskeeper.probes.attempt import ProbeError


@final
class UdpQuestion:
    """The machine: one datagram, and how the first that comes back has to be."""

    def __init__(self, udp: Udp) -> None:
        self._udp = udp
        self.silence_is_well = not udp.require_reply

    def ask(self) -> bytes:
        """Return the payload."""
        return self._udp.payload

    def answer(self, data: bytes) -> bool:
        """Take the answer."""
        udp = self._udp
        if not udp.require_reply:
            return True
        most = udp.longest if udp.longest is not None else len(data)
        if not udp.shortest <= len(data) <= most:
            raise ProbeError(Phase.BODY, f"an answer of {len(data)} bytes")
        pairs = zip(data, udp.reply, udp.mask, strict=False)
        if len(data) < len(udp.reply) or any((got ^ want) & mask for got, want, mask in pairs):
            start = data[:16].hex()
            raise ProbeError(Phase.BODY, f"an answer that begins otherwise: {start or 'empty'}")
        return True
