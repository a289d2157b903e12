"""Asks a daemon for its metrics and pages, as a scraper does, on a unix socket."""

import http.client
import socket
from pathlib import Path
from typing import final

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT = 90.0
"""Seconds: a server imports what it needs at the first question, which takes long in emulation."""

Told = dict[str, list[tuple[dict[str, str], float]]]
"""What a scrape has of each name: labels and value of its samples."""


@final
class Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self.path))


def get(
    path: Path, what: str, method: str = "GET", host: str = "localhost"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return status, headers and body."""
    connection = Unix(path)
    try:
        connection.request(method, what, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def scrape(path: Path, query: str = "") -> Told:
    """Return all metrics; fail where they do not come."""
    status, headers, body = get(path, f"/metrics{query}")
    assert status == 200, body
    # Without the version a scraper has to guess the format
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    told: Told = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            told.setdefault(sample.name, []).append((sample.labels, sample.value))
    return told
