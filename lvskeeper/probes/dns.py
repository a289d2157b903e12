"""DNS_CHECK: ask a DNS server over UDP; it is well where it answers without an error code.

As in keepalived the records of the answer are not looked at, unless the check requires some.
"""

from typing import Final, final

from lvskeeper.health.dns import RCODES, TYPES, answer_code, encode_question, plain_value
from lvskeeper.health.spec import Dns, Phase
from lvskeeper.probes.attempt import ProbeError, one_line

ANY: Final = TYPES["ANY"]
"""Who asks for it has records of all types in the answer, and none of this one."""


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
        if self._dns.wanted is not None:
            self._compare(data, self._dns.wanted)
        return True

    def _compare(self, data: bytes, wanted: tuple[str, ...]) -> None:
        values = read_values(data, self._dns.type)
        if not values:
            raise ProbeError(Phase.BODY, "the answer has no record of the type")
        for value in wanted:
            if plain_value(value) not in values:
                found = one_line(", ".join(sorted(values)))
                raise ProbeError(Phase.BODY, f"no record is '{value}', there is {found}")


def load_reader() -> None:
    """Import what :func:`read_values` needs, which takes long: a quarter of a second."""
    import dns.exception  # noqa: PLC0415 - as below
    import dns.message  # noqa: PLC0415, F401 - as below


def read_values(data: bytes, kind: int) -> set[str]:
    """Return the values of the records of a *kind* in an answer; raise :class:`ProbeError`."""
    from dns.exception import DNSException  # noqa: PLC0415 - few checks need it; it takes a while
    from dns.message import from_wire  # noqa: PLC0415 - as above

    try:
        message = from_wire(data, ignore_trailing=True)
        return {
            plain_value(record.to_text())
            for records in message.answer
            if kind in {records.rdtype, ANY}
            for record in records
        }
    except (DNSException, ValueError) as error:
        detail = f"the answer cannot be read: {one_line(str(error).lower())}"
        raise ProbeError(Phase.BODY, detail) from error
