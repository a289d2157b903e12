"""From the configuration model to the router's: what is tracked, and who is told."""

from collections.abc import Iterator

from lvskeeper.config import vrrp_model as m
from lvskeeper.config.base import Command, ScriptUser
from lvskeeper.config.vrrp_resolve import first, used_names
from lvskeeper.daemon import router_spec as r
from lvskeeper.daemon.roles import Fifo, MailSpec, Script
from lvskeeper.vrrp.trackers import ProcessSpec, ScriptSpec


def script(command: Command | None, user: ScriptUser) -> Script | None:
    """Return a command with who runs it."""
    if command is None:
        return None
    if command.user:
        return Script(command.argv, command.user, command.group)
    return Script(command.argv, user.user, user.group)


def scripts(vrrp: m.VrrpConfig, user: ScriptUser) -> Iterator[r.TrackedScript]:
    """Yield the scripts that something tracks."""
    used = used_names(vrrp, "track_script")
    for one in vrrp.scripts:
        command = script(one.script, one.user or user)
        if one.name in used and command is not None:
            spec = ScriptSpec(one.interval, one.timeout, one.rise, one.fall, one.init_fail)
            secure = vrrp.globals.enable_script_security
            yield r.TrackedScript(one.name, command, spec, secure)


def files(vrrp: m.VrrpConfig) -> Iterator[r.TrackedFile]:
    """Yield the files that something tracks."""
    used = used_names(vrrp, "track_file")
    for one in vrrp.files:
        if one.name in used:
            init = one.init_file
            yield r.TrackedFile(
                one.name,
                one.file,
                initial=init.value if init else None,
                overwrite=init is not None and init.overwrite,
            )


def processes(vrrp: m.VrrpConfig) -> Iterator[r.TrackedProcess]:
    """Yield the processes that something tracks."""
    used = used_names(vrrp, "track_process")
    for one in vrrp.processes:
        if one.name in used:
            compared = one.process.arguments or one.param_match is not None
            yield r.TrackedProcess(
                one.name,
                one.process.path,
                arguments=one.process.arguments if compared else None,
                match=r.ArgumentMatch(one.param_match or "exact"),
                full_command=one.full_command,
                spec=ProcessSpec(
                    quorum=one.quorum,
                    quorum_max=one.quorum_max,
                    up_delay=first(one.fork_delay, default=one.delay),
                    down_delay=first(one.terminate_delay, default=one.delay),
                ),
            )


def fifos(settings: m.VrrpGlobals, user: ScriptUser, *, director: bool) -> Iterator[Fifo]:
    """Yield the pipes of the router, the general one first; a *director* has the reader of that."""
    reader = None if director else settings.notify_fifo_script
    yield from _fifo(settings.notify_fifo, reader, user)
    yield from _fifo(settings.vrrp_notify_fifo, settings.vrrp_notify_fifo_script, user)


def director_fifos(settings: m.VrrpGlobals, user: ScriptUser) -> Iterator[Fifo]:
    """Yield the pipes of the director."""
    yield from _fifo(settings.notify_fifo, settings.notify_fifo_script, user)
    yield from _fifo(settings.lvs_notify_fifo, settings.lvs_notify_fifo_script, user)


def _fifo(fifo: m.Fifo | None, reader: Command | None, user: ScriptUser) -> Iterator[Fifo]:
    if fifo is not None:
        who = (fifo.user, fifo.group) if fifo.user else (user.user, user.group)
        yield Fifo(fifo.path, *who, reader=script(reader, user))


def mail(settings: m.VrrpGlobals) -> MailSpec:
    """Return how mail is sent; without a server none is."""
    server = settings.smtp_server
    if server is None:
        return MailSpec()
    return MailSpec(
        server=server.host,
        port=server.port,
        helo=settings.smtp_helo_name,
        timeout=settings.smtp_connect_timeout,
        sender=settings.notification_email_from,
        recipients=settings.notification_email,
        faults=not settings.no_email_faults,
    )
