"""The events of the router role: the part of the catalogue that is about VRRP.

See :mod:`lvskeeper.observe.events`. ``instance`` is the configured name, ``where`` the short form
of its key: interface, VRID, family.
"""

from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
class VrrpStateChanged(Event, frozen=True):
    """A VRRP instance entered another state."""

    NAME: ClassVar = "vrrp_state_changed"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    where: Annotated[str, "interface, VRID and family"]
    old: Annotated[str, "INIT, BACKUP, MASTER or FAULT"]
    new: Annotated[str, "the same"]
    cause: Annotated[str, "why"]
    priority: Annotated[int, "our effective priority"]
    peer: Annotated[str, "address of the router whose advert did it, if one did"]
    peer_priority: Annotated[int | None, "its priority"]


@final
class VrrpGroupChanged(Event, frozen=True):
    """A sync group, all its members together, entered another state."""

    NAME: ClassVar = "vrrp_group_changed"
    LEVEL: ClassVar = Level.NOTICE
    group: Annotated[str, "name of the sync group"]
    old: Annotated[str, "state before"]
    new: Annotated[str, "state now"]


@final
class VrrpFaultsChanged(Event, frozen=True):
    """The reasons for which an instance is in FAULT are others now."""

    NAME: ClassVar = "vrrp_faults_changed"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Mend what is named; the instance leaves FAULT by itself when all are gone."
    instance: Annotated[str, "name of the instance"]
    faults: Annotated[str, "all present reasons; `none` when it healed"]


@final
class VrrpPriorityChanged(Event, frozen=True):
    """Tracking changed the effective priority of an instance."""

    NAME: ClassVar = "vrrp_priority_changed"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    old: Annotated[int, "effective priority before"]
    new: Annotated[int, "effective priority now"]
    sum: Annotated[str, "how it comes about: the base and what each tracked thing adds"]


@final
class VrrpContentionBegan(Event, frozen=True):
    """Two routers advertise as master of the same virtual router, so both hold its addresses."""

    NAME: ClassVar = "vrrp_contention_began"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = (
        "It should end within an advert interval. If it lasts, adverts get through one way only: "
        "look for filtered multicast, a firewall that drops IP protocol 112, or a stuck switch."
    )
    instance: Annotated[str, "name of the instance"]
    stronger: Annotated[str, "who is to stay master, with priority and interval"]
    weaker: Annotated[str, "who is to yield"]
    why: Annotated[str, "what decides between them"]


@final
class VrrpContentionEnded(Event, frozen=True):
    """One of two masters yielded or fell silent."""

    NAME: ClassVar = "vrrp_contention_ended"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    stronger: Annotated[str, "who was to stay master"]
    weaker: Annotated[str, "who was to yield"]
    lasted: Annotated[str, "how long both were heard"]


@final
class VrrpMasterLearned(Event, frozen=True):
    """A backup hears a master, or another one than before."""

    NAME: ClassVar = "vrrp_master_learned"
    instance: Annotated[str, "name of the instance"]
    master: Annotated[str, "its address"]
    priority: Annotated[int, "its priority"]
    before: Annotated[str, "the master until now, if there was one"]


@final
class VrrpPeerResigned(Event, frozen=True):
    """A router gave up its mastership: an advert of priority 0."""

    NAME: ClassVar = "vrrp_peer_resigned"
    instance: Annotated[str, "name of the instance"]
    peer: Annotated[str, "its address"]
    obeyed: Annotated[bool, "false where another master is heard, which lives on"]


@final
class VrrpLate(Event, frozen=True):
    """Our own process came late to a timer; it is not the peer that is slow."""

    NAME: ClassVar = "vrrp_late"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = (
        "The machine is overloaded or was paused. `vrrp_rt_priority`, `vrrp_no_swap` and a longer "
        "`advert_int` help."
    )
    instance: Annotated[str, "name of the instance"]
    state: Annotated[str, "its state"]
    late: Annotated[str, "by how much"]
    count: Annotated[int, "how often so far"]


@final
class VrrpExtended(Event, frozen=True):
    """A backup that was late itself waits once more before it takes silence for death."""

    NAME: ClassVar = "vrrp_extended"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    wait: Annotated[str, "how long it waits from now"]


@final
class VrrpIntervalLearned(Event, frozen=True):
    """A version 3 backup follows another advert interval of its master."""

    NAME: ClassVar = "vrrp_interval_learned"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    old: Annotated[str, "interval before"]
    new: Annotated[str, "interval now"]


@final
class VrrpLowerHeard(Event, frozen=True):
    """Another router advertises with less than our priority; told once until a transition."""

    NAME: ClassVar = "vrrp_lower_heard"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    state: Annotated[str, "our state: a backup takes over, a master insists"]
    peer: Annotated[str, "address of the other router"]
    peer_priority: Annotated[int, "its priority"]


@final
class VrrpLowerUntold(Event, frozen=True):
    """So many routers advertise with less than our priority that no more are told of.

    The next transition ends that.
    """

    NAME: ClassVar = "vrrp_lower_untold"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = (
        "So many are hardly real: somebody forges adverts. Find out who, and use auth_hmac."
    )
    instance: Annotated[str, "name of the instance"]
    state: Annotated[str, "our state: a backup takes over, a master insists"]
    peers: Annotated[int, "how many were heard since the last transition"]
    peer: Annotated[str, "address of the last one that is told"]


@final
class VrrpOwnAddressHeard(Event, frozen=True):
    """An advert came from our own address with our priority: somebody has the same address."""

    NAME: ClassVar = "vrrp_own_address_heard"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Find the machine with the same address, or the loop that sends adverts back."
    instance: Annotated[str, "name of the instance"]


@final
class VrrpOwnerConflict(Event, frozen=True):
    """A second router claims priority 255 and does not yield; we go down to 254 until it does."""

    NAME: ClassVar = "vrrp_owner_conflict"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Only one router may own the addresses: give the other a priority below 255."
    instance: Annotated[str, "name of the instance"]
    rival: Annotated[str, "address of the other owner"]


@final
class VrrpPreemptDelay(Event, frozen=True):
    """The preempt delay began or ended."""

    NAME: ClassVar = "vrrp_preempt_delay"
    instance: Annotated[str, "name of the instance"]
    change: Annotated[str, "`began` or `ended`"]
    wait: Annotated[str, "how long a master of lower priority is let be"]


@final
class VrrpAdvertRejected(Event, frozen=True):
    """An advert does not count; told once a kind until the next transition."""

    NAME: ClassVar = "vrrp_advert_rejected"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Let both routers have the same version, interval, authentication and peers."
    instance: Annotated[str, "name of the instance; empty for a VRID that is not ours"]
    where: Annotated[str, "interface and VRID"]
    kind: Annotated[str, "kind of the reject"]
    detail: Annotated[str, "what was found, and what it should be"]
    peer: Annotated[str, "source address, as far as it could be read"]


@final
class VrrpAdvertNoted(Event, frozen=True):
    """An advert counts, yet something in it differs from ours; told once until a transition."""

    NAME: ClassVar = "vrrp_advert_noted"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Let both routers have the same addresses and interval in this instance."
    instance: Annotated[str, "name of the instance"]
    kind: Annotated[str, "what differs"]
    detail: Annotated[str, "theirs and ours"]
    peer: Annotated[str, "source address"]


@final
class VrrpUnknownVrid(Event, frozen=True):
    """Adverts are heard for a VRID that is not configured here; told once a VRID."""

    NAME: ClassVar = "vrrp_unknown_vrid"
    LEVEL: ClassVar = Level.NOTICE
    interface: Annotated[str, "where it is heard"]
    vrid: Annotated[int, "the foreign VRID"]
    peer: Annotated[str, "who advertises it"]


@final
class VrrpSendFailed(Event, frozen=True):
    """An advert could not be sent; told once until one gets out again."""

    NAME: ClassVar = "vrrp_send_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "The hint names the usual cause."
    instance: Annotated[str, "name of the instance"]
    reason: Annotated[str, "what the kernel says"]
    hint: Annotated[str, "what to do"]


@final
class VrrpSocketFailed(Event, frozen=True):
    """The sockets of an interface cannot be opened or used; it is tried again every second."""

    NAME: ClassVar = "vrrp_socket_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "The hint names the usual cause."
    interface: Annotated[str, "the interface"]
    reason: Annotated[str, "what the kernel says"]
    hint: Annotated[str, "what to do"]


@final
class VipsHeld(Event, frozen=True):
    """Addresses, routes and rules of an instance were put in place."""

    NAME: ClassVar = "vips_held"
    instance: Annotated[str, "name of the instance; `static` for those that are always there"]
    addresses: Annotated[str, "the addresses with their devices"]
    routes: Annotated[int, "routes added"]
    rules: Annotated[int, "rules added"]
    took: Annotated[str, "time that the kernel took"]


@final
class VipsReleased(Event, frozen=True):
    """Addresses, routes and rules of an instance were taken away."""

    NAME: ClassVar = "vips_released"
    instance: Annotated[str, "name of the instance, `static`, or `earlier run`"]
    addresses: Annotated[str, "the addresses with their devices"]
    took: Annotated[str, "time that the kernel took"]


@final
class VipLost(Event, frozen=True):
    """Somebody else removed an address, a route or a rule that a master holds; it is put back."""

    NAME: ClassVar = "vip_lost"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = (
        "Find out who: systemd-networkd (KeepConfiguration=yes, ManageForeignRoutes=no), "
        "NetworkManager (unmanaged device), a DHCP client, or a hand."
    )
    instance: Annotated[str, "name of the instance that holds it"]
    lost: Annotated[str, "what was removed"]
    by: Annotated[str, "the process that asked the kernel for it, as far as it can be told"]
    count: Annotated[int, "how often this instance lost something so far"]


@final
class VipRefused(Event, frozen=True):
    """The kernel refused an address, a route or a rule; told once until it takes it."""

    NAME: ClassVar = "vip_refused"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Correct the entry or its device; it is tried again with the next take-over."
    instance: Annotated[str, "name of the instance; empty for a virtual device"]
    what: Annotated[str, "what was refused"]
    reason: Annotated[str, "what the kernel says"]
    hint: Annotated[str, "what to do"]


@final
class VrrpAnnounceFailed(Event, frozen=True):
    """Neighbours could not be told where an address is; told once until it works."""

    NAME: ClassVar = "vrrp_announce_failed"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Clients may keep sending to the old master until their caches expire."
    instance: Annotated[str, "name of the instance"]
    interface: Annotated[str, "where"]
    reason: Annotated[str, "what the kernel says"]


@final
class LinkChanged(Event, frozen=True):
    """An interface that VRRP depends on appeared, vanished, went up or down."""

    NAME: ClassVar = "link_changed"
    LEVEL: ClassVar = Level.NOTICE
    interface: Annotated[str, "the interface"]
    change: Annotated[str, "`up`, `down`, `missing` or `held down` while it flaps"]
    flaps: Annotated[int, "times that it went down again soon after it had come up"]


@final
class TrackChanged(Event, frozen=True):
    """Something that instances track is well, failed, or has another value."""

    NAME: ClassVar = "track_changed"
    LEVEL: ClassVar = Level.NOTICE
    track: Annotated[str, "kind and name of the tracked thing"]
    status: Annotated[str, "`well`, `failed`, or the value of a file"]
    detail: Annotated[str, "how it came to it: exit status, count, output"]


@final
class TrackTroubled(Event, frozen=True):
    """A tracked thing cannot be looked at as it should; told once until that changes."""

    NAME: ClassVar = "track_troubled"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Make the script quicker or its interval longer; look at the named file."
    track: Annotated[str, "kind and name of the tracked thing"]
    detail: Annotated[str, "what is wrong"]


@final
class NotifyTroubled(Event, frozen=True):
    """A FIFO or its reader could not be served as configured."""

    NAME: ClassVar = "notify_troubled"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Transitions go on; look at the FIFO and its reader."
    detail: Annotated[str, "what is wrong"]


@final
class MailSent(Event, frozen=True):
    """A mail alert was sent."""

    NAME: ClassVar = "mail_sent"
    detail: Annotated[str, "its subject"]


@final
class MailFailed(Event, frozen=True):
    """A mail alert could not be sent, or is given up after some attempts."""

    NAME: ClassVar = "mail_failed"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Look at `smtp_server` and at what it says; transitions go on without."
    detail: Annotated[str, "its subject, and what went wrong"]


@final
class RouterResumed(Event, frozen=True):
    """The machine was suspended; every master became backup, as its peers have gone on."""

    NAME: ClassVar = "router_resumed"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Do not suspend a director; live migration and snapshots do the same."
    away: Annotated[str, "how long the machine was away"]


@final
class DirectorSilent(Event, frozen=True):
    """The director role does not answer; all instances go to FAULT so that a peer takes over."""

    NAME: ClassVar = "director_silent"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Look for its traceback or for what starves it; see `vrrp_director_timeout`."
    silent: Annotated[str, "since when it was not heard"]


@final
class DirectorBack(Event, frozen=True):
    """The director role answers again, and the instances may take part again."""

    NAME: ClassVar = "director_back"
    LEVEL: ClassVar = Level.NOTICE
    silent: Annotated[str, "how long it was not heard"]


@final
class SchedulingFailed(Event, frozen=True):
    """The router role could not get the scheduling that the configuration asks for."""

    NAME: ClassVar = "scheduling_failed"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Run as root, or with CAP_SYS_NICE and CAP_IPC_LOCK."
    what: Annotated[str, "what was asked for"]
    reason: Annotated[str, "what the kernel says"]


@final
class SyncDaemonChanged(Event, frozen=True):
    """The kernel's IPVS connection-sync daemon was started or stopped."""

    NAME: ClassVar = "sync_daemon_changed"
    LEVEL: ClassVar = Level.NOTICE
    direction: Annotated[str, "`master` sends, `backup` receives"]
    change: Annotated[str, "`started` or `stopped`"]
    interface: Annotated[str, "its interface"]


@final
class VrrpReport(Event, frozen=True):
    """How an instance is, on demand (SIGUSR1)."""

    NAME: ClassVar = "vrrp_report"
    LEVEL: ClassVar = Level.NOTICE
    instance: Annotated[str, "name of the instance"]
    where: Annotated[str, "interface, VRID and family"]
    why: Annotated[str, "its state, the reasons, and what comes next if nothing happens"]
    since: Annotated[str, "how long it has been in this state; empty before its start"]
    sent: Annotated[int, "adverts sent"]
    received: Annotated[int, "adverts that counted"]
    rejected: Annotated[str, "adverts that did not, by kind"]
    resigned: Annotated[int, "adverts of priority 0 that we sent"]
    resignations: Annotated[int, "adverts of priority 0 that we heard"]
    became_master: Annotated[int, "times that it became master"]
    late: Annotated[int, "times that our loop came late to its timer"]
    lost: Annotated[int, "times that somebody else removed what it holds"]
    peers: Annotated[str, "routers heard: address, priority, adverts, and how long ago"]
    announced: Annotated[str, "how long ago each address was last announced"]
