"""HTTP_GET and SSL_GET: ask for each URL in turn, and compare status and body.

Connections are never kept: an idle one would say nothing of whether the server still accepts.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Final, final

from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult, Tls, Url
from lvskeeper.probes.attempt import ProbeError, Progress, attempt
from lvskeeper.probes.http_answer import HttpTalk
from lvskeeper.probes.search import Searcher
from lvskeeper.probes.stream import connect, converse, describe_tls_error
from lvskeeper.units import format_address, format_endpoint

_VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_OLD_CIPHERS: Final = "DEFAULT:@SECLEVEL=0"
"""For servers that are not verified: that they answer is what counts, however old they are."""


@final
class HttpProber:
    """Makes HTTP probes."""

    def __init__(self) -> None:
        self._searcher: Searcher | None = None
        self._contexts: dict[Tls, asyncio.Task[ssl.SSLContext]] = {}

    def forget_files(self) -> None:
        """Read certificates and keys anew when they are needed next."""
        self._contexts.clear()

    def close(self) -> None:
        """Let threads go; probes in flight fail."""
        if self._searcher is not None:
            self._searcher.close()
            self._searcher = None

    async def probe(self, spec: CheckSpec) -> ProbeResult:
        """Ask all URLs of *spec*, each within ``connect_timeout``; the first failure ends it."""

        async def work(progress: Progress) -> None:
            context = await self._context(spec.tls) if spec.tls else None
            for url in spec.urls or (Url(),):
                try:
                    async with asyncio.timeout(spec.connect_timeout):
                        await self._get(spec, url, context, progress)
                except ProbeError as error:
                    if len(spec.urls) > 1 and error.phase in {Phase.STATUS, Phase.BODY}:
                        raise ProbeError(error.phase, f"{url.path}: {error.detail}") from error
                    raise

        return await attempt(work, spec.connect_timeout)

    async def _get(
        self, spec: CheckSpec, url: Url, context: ssl.SSLContext | None, progress: Progress
    ) -> None:
        host = url.virtualhost or format_endpoint(spec.address, spec.port)
        talk = HttpTalk(url, host, spec.http_version)
        name = url.sni
        if not name and spec.tls is not None and spec.tls.verify:
            name = format_address(spec.address)
        strict = spec.tls is not None and spec.tls.strict_close
        with await connect((spec.address, spec.port), spec.source, progress) as sock:
            await converse(sock, talk, progress, context=context, name=name or None, strict=strict)
        if url.regex is not None:
            if self._searcher is None:
                self._searcher = Searcher()
            await self._searcher.search(url.regex, bytes(talk.searched), progress)

    async def _context(self, tls: Tls) -> ssl.SSLContext:
        """Return the context of *tls*; it is made beside the loop, for it reads files."""
        task = self._contexts.get(tls)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            made = asyncio.to_thread(make_context, tls)
            task = asyncio.get_running_loop().create_task(made)
            # Where its probe is cancelled, nobody else takes its failure.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._contexts[tls] = task
        return await asyncio.shield(task)


def make_context(tls: Tls) -> ssl.SSLContext:
    """Read the files of *tls*; raise :class:`ProbeError` with ``INTERNAL`` where one is no good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whether an end of the connection without one of TLS will do is decided in the conversation.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if tls.minimum:
        context.minimum_version = _VERSIONS[tls.minimum]
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers(_OLD_CIPHERS)
    what = ""
    try:
        if tls.verify:
            what = f"ca {tls.ca or 'of the system'}"
            if tls.ca:
                context.load_verify_locations(tls.ca)
            else:
                context.load_default_certs()
        if tls.certificate:
            what = f"certificate {tls.certificate}"
            _readable(tls.certificate)
            if tls.key:
                what = f"key {tls.key}"
                _readable(tls.key)
            context.load_cert_chain(tls.certificate, tls.key or None, tls.password or _no_password)
    except ssl.SSLError as error:
        detail = describe_tls_error(error)
        if tls.password:
            detail += "; the password may be wrong"
        raise ProbeError(Phase.INTERNAL, f"{what}: {detail}") from error
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise ProbeError(Phase.INTERNAL, f"{what}: {(text or str(error)).lower()}") from error
    return context


def _readable(path: str) -> None:
    """Raise ``OSError`` where *path* cannot be read: which file it is ``ssl`` would not say."""
    with Path(path).open("rb"):
        pass


def _no_password() -> str:
    """Refuse; without this, OpenSSL would ask at the terminal."""
    raise ValueError("it needs a password")
