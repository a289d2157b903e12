"""DNS_CHECK: ask a DNS server over UDP; it is well where it answers without an error code.

As in keepalived the records of the answer are not looked at.
"""

from typing import Final, final

from lvskeeper.health.dns import RCODES, answer_code, encode_question
from lvskeeper.health.spec import Dns, Phase
from lvskeeper.probes.attempt import ProbeError


@final
class DnsQuestion:
    """The machine of one question, with the id *number*."""

    silence_is_well: Final = False

    def __init__(self, dns: Dns, number: int) -> None:
        self._dns = dns
        self._number = number

    def ask(self) -> bytes:
        """Return the message."""
        return encode_question(self._number, self._dns.name, self._dns.type)

    def answer(self, data: bytes) -> bool:
        """Take a datagram; one with another id, or none of DNS, is passed over."""
        code = answer_code(self._number, data)
        if code is None:
            return False
        if code:
            text = RCODES.get(code, "")
            raise ProbeError(Phase.STATUS, f"response code {code} {text}".rstrip())
        return True
