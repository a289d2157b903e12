"""What is told of a sysctl that was looked at."""

from lvskeeper.kernel.sysctls import Finding, State
from lvskeeper.observe import events
from lvskeeper.observe.events import Event


def sysctl_event(finding: Finding) -> Event | None:
    """Return the event of a sysctl that was set or is wrong; nothing where all was well."""
    requirement = finding.requirement
    name = requirement.dotted
    wanted = str(requirement.wanted)
    if finding.state is State.SET:
        return events.SysctlSet(name, finding.found, wanted)
    if finding.ok:
        return None
    value = " ".join(filter(None, (finding.found, finding.reason))) or finding.state.value
    return events.SysctlWrong(name, value, wanted, requirement.consequence)
