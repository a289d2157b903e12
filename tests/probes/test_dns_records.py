"""Reading the records of DNS answers, whatever comes."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS

from lvskeeper.probes.attempt import ProbeError
from lvskeeper.probes.dns import read_values


@given(st.binary(max_size=200), st.sampled_from([1, 15, 16, 33, 64, 255]))
def test_no_answer_breaks_the_reading_of_records(data: bytes, kind: int) -> None:
    for message in (data, bytes(DNS(id=7, qr=1)) + data, bytes(DNS(id=7, qr=1, ancount=3)) + data):
        try:
            words = read_values(message, kind)
        except ProbeError as error:
            words = {error.detail}
        assert all(word.isascii() for word in words)
