"""Mail alerts: written in keepalived's words, sent by a short-lived child of the supervisor.

The child has smtplib, the names of the resolver and whatever a mail server does to itself.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never, final

from lvskeeper.daemon.process import describe_status, reaped, spawn
from lvskeeper.daemon.roles import MailSpec
from lvskeeper.vrrp.states import State

MAX_WAITING: Final = 64
"""Mails that wait; when one more comes, the oldest is dropped."""
SLACK: Final = 10.0
"""Seconds beyond ``MailSpec.timeout``, which is for one answer of the server, for a whole mail."""
PAUSES: Final = (5.0, 30.0)
"""Seconds before the second and the third attempt."""
QUIT_LIMIT: Final = 2.0
"""Seconds for the server's goodbye."""
MAX_DETAIL: Final = 1000
"""Bytes of what is told about a failure."""

SENT: Final = 0
TRY_AGAIN: Final = 1
REFUSED: Final = 2
"""How a child ends. What a server refuses for good (a status of 5xx) is not tried again."""


def alert(
    router_id: str, kind: Literal["INSTANCE", "GROUP"], name: str, state: State
) -> tuple[str, str]:
    """Return subject and body of the mail for *state*; ``INIT`` is for what is being stopped."""
    group = kind == "GROUP"
    match state:
        case State.MASTER | State.BACKUP | State.FAULT:
            what = f"Entering {state.value} state"
            owning = "now" if state is State.MASTER else "no longer"
            body = f"VRRP Instance is {owning} owning VRRP VIPs"
            if group:
                body = f"All VRRP group instances are now in {state.value} state"
        case State.INIT:
            what = "Stopping"
            body = "VRRP Instance stopping"
            if group:
                body = "All VRRP group instances are now stopping"
        case _:
            assert_never(state)
    router = f"[{router_id}] " if router_id else ""
    return f"{router}VRRP {kind.capitalize()} {name} - {what}", f"=> {body} <="


def mail_main(spec: MailSpec, subject: str, body: str) -> Callable[[socket.socket], int]:
    """Return the main function of a child that sends one mail and says what went wrong."""

    def main(sock: socket.socket) -> int:
        status, detail = _send(spec, subject, body)
        sock.sendall(detail.encode(errors="replace")[:MAX_DETAIL])
        return status

    return main


def _send(spec: MailSpec, subject: str, body: str) -> tuple[int, str]:
    import smtplib  # noqa: PLC0415 - only the child needs it
    from email.message import EmailMessage  # noqa: PLC0415 - see above
    from email.utils import formatdate, make_msgid  # noqa: PLC0415 - see above

    host = socket.gethostname()
    sender = spec.sender or f"lvskeeper@{host}"
    try:
        message = EmailMessage()
        message["Date"] = formatdate(localtime=True)
        message["From"] = sender
        message["To"] = ", ".join(spec.recipients)
        message["Subject"] = " ".join(subject.split())
        message["Message-ID"] = make_msgid(domain=host)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body + "\n")
        server = smtplib.SMTP(
            spec.server, spec.port, local_hostname=spec.helo or host, timeout=max(spec.timeout, 1.0)
        )
        try:
            refused = server.send_message(message, sender, spec.recipients)
            # It is sent: whatever happens now must not have it sent again.
            with contextlib.suppress(OSError):
                if server.sock is not None:
                    server.sock.settimeout(QUIT_LIMIT)
                server.quit()
        finally:
            server.close()
    except smtplib.SMTPRecipientsRefused as error:
        return _refusals(error.recipients)
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return _status(error.smtp_code), f"the server answered {error.smtp_code} {reason}"
    except (OSError, ValueError) as error:
        # smtplib's other errors are of OSError too.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return TRY_AGAIN, reason or type(error).__name__
    # It is sent to the others, so it is not sent again.
    return SENT, _refusals(refused)[1] if refused else ""


def _refusals(recipients: dict[str, tuple[int, bytes]]) -> tuple[int, str]:
    told = [
        f"{name}: {code} {text.decode(errors='replace')}"
        for name, (code, text) in recipients.items()
    ]
    final_one = all(_status(code) == REFUSED for code, _ in recipients.values())
    return REFUSED if final_one else TRY_AGAIN, f"recipients refused: {'; '.join(told)}"


def _status(code: int) -> int:
    return REFUSED if code >= 500 else TRY_AGAIN


@final
@dataclass(frozen=True, slots=True)
class _Mail:
    spec: MailSpec
    subject: str
    body: str


@final
class MailQueue:
    """Sends mails one after the other. *on_result* is told how each ended, and why."""

    def __init__(
        self,
        on_result: Callable[[bool, str], None],
        *,
        limit: int = MAX_WAITING,
        slack: float = SLACK,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Make an empty queue; times are in seconds, each of *pauses* allows another attempt."""
        self._on_result = on_result
        self._limit = limit
        self._slack = slack
        self._pauses = tuple(pauses)
        self._waiting: deque[_Mail] = deque()
        self._task: asyncio.Task[None] | None = None
        self._dropped = 0
        self._closed = False

    def put(self, spec: MailSpec, subject: str, body: str) -> None:
        """Send a mail after all earlier ones; do nothing without a server or recipients."""
        if self._closed or not spec.server or not spec.recipients:
            return
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(_Mail(spec, subject, body))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self, deadline: float) -> None:
        """Take no more mails, and give those that are there *deadline* seconds."""
        self._closed = True
        if self._task is None:
            return
        _, late = await asyncio.wait({self._task}, timeout=deadline)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _work(self) -> None:
        try:
            while self._waiting:
                mail = self._waiting.popleft()
                try:
                    ok, detail = await self._deliver(mail)
                except asyncio.CancelledError:
                    self._dropped += 1
                    raise
                self._tell(ok, f"{mail.subject}: {detail}" if detail else mail.subject)
        finally:
            self._task = None
            self._dropped += len(self._waiting)
            self._waiting.clear()
            if self._dropped:
                self._tell(False, "mails were not sent")

    def _tell(self, ok: bool, detail: str) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            detail += f" ({dropped} dropped unsent)"
        self._on_result(ok, detail)

    async def _deliver(self, mail: _Mail) -> tuple[bool, str]:
        attempts = 1
        for pause in self._pauses:
            status, detail = await self._try(mail)
            if status != TRY_AGAIN:
                return status == SENT, detail
            await asyncio.sleep(pause)
            attempts += 1
        status, detail = await self._try(mail)
        if status == TRY_AGAIN and attempts > 1:
            detail += f" (tried {attempts} times)"
        return status == SENT, detail

    async def _try(self, mail: _Mail) -> tuple[int, str]:
        """Send *mail* in a child, within the deadline."""
        main = mail_main(mail.spec, mail.subject, mail.body)
        try:
            child = spawn("mail", main, die_with_parent=True)
        except OSError as error:
            return TRY_AGAIN, f"no process for it: {error.strerror}"
        limit = mail.spec.timeout + self._slack
        detail = b""
        done = False
        try:
            child.sock.setblocking(False)
            async with asyncio.timeout(limit):
                detail = await _read_all(child.sock)
                done = True
        except TimeoutError:
            return TRY_AGAIN, f"not done after {limit:g} s"
        finally:
            if not done:
                os.kill(child.pid, signal.SIGKILL)
            child.release()
            child.sock.close()
            status = await reaped(child.pid)
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status) > REFUSED:
            return TRY_AGAIN, f"the process that sends it ended: {describe_status(status)}"
        return os.WEXITSTATUS(status), detail.decode(errors="replace")


async def _read_all(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    text = b""
    with contextlib.suppress(ConnectionError):
        while len(text) < MAX_DETAIL and (more := await loop.sock_recv(sock, MAX_DETAIL)):
            text += more
    return text
