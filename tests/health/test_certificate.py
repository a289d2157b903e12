"""The end of a certificate's validity, against what openssl says of it."""

import ssl
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.health.certificate import not_after

KINDS = {
    "a usual one": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "one with a long key": ["-newkey", "rsa:2048"],
}


@pytest.fixture(scope="module")
def der(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make(tmp_path_factory.mktemp("pem"), "30", KINDS["a usual one"])


def make(folder: Path, days: str, kind: list[str]) -> bytes:
    file = folder / "one.pem"
    subprocess.run(
        ["openssl", "req", "-x509", *kind, "-nodes", "-keyout", str(folder / "one.key"),
         "-out", str(file), "-subj", "/CN=x", "-days", days],
        check=True, capture_output=True,
    )  # fmt: skip
    return ssl.PEM_cert_to_DER_cert(file.read_text())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("days", ["1", "400", "20000"])  # the last one beyond 2050, in another form
def test_it_is_what_openssl_says(tmp_path: Path, days: str, kind: str) -> None:
    end = not_after(make(tmp_path, days, KINDS[kind]))
    said = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", str(tmp_path / "one.pem")],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert end == ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter="))
    assert abs(end - time.time() - int(days) * 86_400) < 600


def test_one_that_breaks_off_has_no_end(der: bytes) -> None:
    assert not_after(der) is not None
    assert {not_after(der[:end]) for end in range(len(der))} == {None}


@given(st.data())
def test_no_bytes_break_the_reading(der: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(der) - 1))
    for other in (der[:at] + data.draw(st.binary(max_size=20)) + der[at + 1 :],
                  data.draw(st.binary(max_size=60))):  # fmt: skip
        end = not_after(other)
        assert end is None or isinstance(end, float)
