"""HTTP_GET and SSL_GET: ask for each URL in turn, and compare status and body.

Connections are never kept: an idle one would say nothing of whether the server still accepts.
"""

from collections.abc import Iterator

from lvskeeper.health.spec import CheckSpec, Url
from lvskeeper.probes.http_answer import HttpTalk
from lvskeeper.probes.stream import Step
from lvskeeper.units import format_address, format_endpoint


def http_steps(spec: CheckSpec) -> Iterator[Step]:
    """Yield a step for each URL of *spec*, with ``connect_timeout`` for each."""
    several = len(spec.urls) > 1
    for url in spec.urls or (Url(),):
        host = url.virtualhost or format_endpoint(spec.address, spec.port)
        talk = HttpTalk(url, host, spec.http_version)
        name = url.sni
        if not name and spec.tls is not None and spec.tls.verify:
            name = format_address(spec.address)
        yield Step(
            spec.address,
            spec.port,
            spec.source,
            spec.connect_timeout,
            talk,
            spec.tls,
            name or None,
            url.regex,
            talk.searched,
            url.path if several else "",
        )
