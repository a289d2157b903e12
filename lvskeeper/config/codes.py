"""The codes of all diagnostics: one table, from which the documentation is made."""

from difflib import get_close_matches
from enum import Enum
from typing import final


@final
class Code(Enum):
    """A kind of diagnostic. Codes are stable: scripts may rely on them."""

    UNREADABLE = "LK0101", "A file cannot be read."
    INCLUDE_LOOP = (
        "LK0102",
        "A file includes itself, directly or through others.",
        "take one of the includes out of the chain that the message names",
    )
    INCLUDE_MISSING = (
        "LK0103",
        "An include names a file that does not exist.",
        "name a file that is there, or let the pattern match nothing: include",
    )
    INCLUDE_DEPTH = (
        "LK0104",
        "Includes are nested too deep, or there are too many.",
        "include from one file what is nested; look for links that form a loop",
    )
    QUOTE = (
        "LK0105",
        "A quoted word is not closed on its line.",
        'close it with a " on the same line; a quote holds no other double quote',
    )
    BRACE_MISSING = "LK0106", "A block is opened and not closed."
    BRACE_EXTRA = "LK0107", "A closing brace has no block to close, or closes it too early."
    BRACE_STRAY = (
        "LK0108",
        "An opening brace follows nothing that could have a block.",
        "write the keyword of the block before it, or remove it with its '}'",
    )
    NOT_UTF8 = (
        "LK0109",
        "A file is not UTF-8; the odd bytes are replaced.",
        "save the file as UTF-8",
    )
    NUL = (
        "LK0110",
        "A file holds a NUL character.",
        "remove it; a file that was cut by a crash or saved as UTF-16 looks so",
    )
    YAML_SYNTAX = (
        "LK0111",
        "The YAML parser refuses the file.",
        "put right what the parser names; quote values with special characters",
    )
    YAML_DUPLICATE = (
        "LK0112",
        "A YAML mapping has a key twice.",
        "keep one of them; several of a kind are a list",
    )
    YAML_SHAPE = (
        "LK0113",
        "A YAML value has another shape than its keyword needs.",
        "docs/configuration.md says which keywords are lists, mappings and values",
    )
    LANGUAGE = (
        "LK0114",
        "A definition, a condition or a sequence that cannot be read.",
        "write it in the form that the hint names",
    )
    LIMIT = (
        "LK0115",
        "A limit: text that is too long, nested too deep, or stands for too much.",
        "look for a loop or a template that went wrong; no sound file comes near a limit",
    )
    NOT_REPLACED = (
        "LK0116",
        "The name of a definition stands where it is not replaced.",
        "write ${NAME}; in a line of its own where the definition has several lines",
    )

    UNKNOWN = "LK0201", "No such keyword."
    MISPLACED = "LK0202", "A keyword stands in a block where it has no meaning."
    NOTED = (
        "LK0203",
        "A keyword that is known and that nothing acts on; it is passed over.",
        "the hint says why, and what does its work here; then the line can go",
    )
    REFUSED = "LK0204", "A keyword that is refused on purpose."
    NO_VALUE = (
        "LK0205",
        "A keyword lacks its value.",
        "write the value behind the keyword",
    )
    EXTRA = "LK0206", "Words follow that have no meaning; they are ignored."
    BAD_VALUE = "LK0207", "A value is not what the keyword takes."
    TWICE = (
        "LK0208",
        "A keyword is given twice in one block; the later one counts.",
        "keep the one that is meant",
    )
    NO_BLOCK = "LK0209", "A keyword needs a block."
    BLOCK = (
        "LK0210",
        "A keyword takes no block.",
        "remove the braces, or move what is between them to where it belongs",
    )
    PLACEHOLDER = "LK0211", "A template placeholder was not filled in."
    REQUIRED = "LK0212", "A block lacks a keyword that it cannot do without."
    SAME_NAME = "LK0213", "Two groups have the same name."
    IGNORED_WORD = "LK0215", "keepalived ignores the word behind a flag, and switches it on."
    PLACEHOLDER_PART = (
        "LK0216",
        "Part of a value looks like a template's placeholder.",
        "fill the template in; what is meant literally can stay",
    )
    EMPTY = "LK0217", "The configuration serves nothing: no virtual server, nothing of VRRP."
    SEMICOLON = (
        "LK0218",
        "A ';' is part of a value: nothing ends with one here.",
        "remove the ';'; a line ends by itself, and a comment begins with # or !",
    )
    OLD_NAME = "LK0219", "A keyword has another name today."

    FNAT_NO_POOL = "LK0301", "FNAT needs a local-address group."
    POOL_UNKNOWN = "LK0302", "A local-address group is not defined."
    POOL_FAMILY = (
        "LK0303",
        "A local-address group has no address of the real servers' family.",
        "add a local address of that family to the group",
    )
    LIP_IS_VIP = "LK0304", "A local address is also a virtual address."
    FAMILY = "LK0305", "A real server has another address family than its virtual server."
    FNAT_OPS = "LK0306", "FNAT does not go with one-packet scheduling."
    FNAT_FWMARK = "LK0307", "FNAT by fwmark does not work on kernels with native FULLNAT."
    FNAT_UDP = "LK0308", "FNAT for UDP does not work on kernels with native FULLNAT."
    SYN_PROXY = "LK0309", "syn_proxy needs TCP, NAT or FNAT, and an address."
    QUORUM = "LK0311", "The quorum is above the sum of all weights, or is never gained."
    HYSTERESIS = "LK0312", "The hysteresis is not below the quorum."
    SAME_REAL = "LK0313", "A virtual server names a real server twice."
    SAME_VIRTUAL = "LK0314", "Two virtual servers claim the same service."
    SORRY = "LK0315", "A sorry server that can never be used, or is one of the real servers."
    GRANULARITY = (
        "LK0316",
        "A persistence granularity that the address family does not have.",
        "a prefix length up to 32 for IPv4, up to 128 for IPv6",
    )
    THRESHOLDS = (
        "LK0317",
        "The lower threshold is above the upper one.",
        "give lthreshold a smaller number than uthreshold",
    )
    PORT_ZERO = "LK0318", "A service for all ports needs persistence."
    CHECK_PORT = "LK0319", "A check has no port to connect to."
    SLOW_CHECK = "LK0320", "A probe may take longer than the time between two."
    DEFAULTED = "LK0321", "A keyword that keepalived asks for is missing; its default is used."
    SCHED_FLAG = "LK0322", "A flag of one scheduler is given to another."
    EMPTY_GROUP = (
        "LK0323",
        "A group has no members.",
        "add a member, or remove the group",
    )
    UNUSED_GROUP = (
        "LK0324",
        "A group is defined and not used.",
        "name it in a virtual server, or remove it",
    )
    GROUP_UNKNOWN = "LK0325", "A virtual-server group is not defined."
    OPS_PROTOCOL = (
        "LK0326",
        "One-packet scheduling has an effect on UDP only.",
        "remove ops, or set: protocol UDP",
    )
    PORT_KEPT = "LK0327", "DR and TUN do not translate ports."
    NO_CHECK = (
        "LK0328",
        "A real server has no check, unlike others of its virtual server.",
        "give it a check like the others",
    )
    NO_SERVERS = (
        "LK0329",
        "A virtual server has no real servers.",
        "add a real_server block, or remove the virtual server",
    )
    POOL_UNUSED = (
        "LK0330",
        "A local-address group is named where nothing uses FNAT.",
        "set: lb_kind FNAT, or remove the line",
    )
    MIXED_GROUP = "LK0331", "The members of a virtual-server group differ in address family."

    NO_PROTOCOL = "LK0332", "A virtual server does not name its protocol."
    SAME_LABEL = "LK0333", "Two virtual servers would be known by the same name."
    SYN_PROXY_OFF = (
        "LK0334",
        "An option of syn_proxy is given without it.",
        "add: syn_proxy, or remove the line",
    )
    SYN_PROXY_PROMISE = "LK0335", "syn_proxy would promise what does not hold, or too little."
    PORTS_UNUSED = (
        "LK0336",
        "laddr_ports is given where nothing uses FNAT.",
        "set: lb_kind FNAT, or remove the line",
    )
    FEW_PORTS = "LK0337", "The source ports carry fewer connections than a real server may get."
    DEFENCE = "LK0338", "A defence that has no effect, or would drop what is served."
    SYSCTL = "LK0339", "A setting of IPVS does not go with another, or with a virtual server."
    LIP_TAKEN = "LK0340", "A local address is also a real server, or is put on two devices."
    STATE_SYNC = "LK0341", "state_sync does not say how the peer is reached, or in two ways."
    STATE_SYNC_LOSES = "LK0342", "state_sync cannot keep some of the connections."
    CHECK_FAMILY = (
        "LK0343",
        "A check binds to another address family than it connects to.",
        "bind to an address of the family that is connected to",
    )
    SCRIPT = "LK0344", "A script is missing, is not executable, or can be written by others."
    SCRIPT_SECURITY = "LK0345", "Scripts run as root, and nobody looks whether others wrote them."
    STICKS = "LK0346", "Clients that persist stay with a server that failed."
    NO_DEVICE = "LK0347", "An interface does not exist on this machine."

    EXPOSED_KEY = "LK0401", "The file of a key can be read or written by others."
    HMAC = "LK0402", "An auth_hmac block whose keys do not fit."
    SAME_VRID = "LK0403", "Two instances have the same interface, family and VRID."
    TWO_GROUPS = "LK0404", "An instance is in two sync groups."
    MEMBER_UNKNOWN = "LK0405", "An instance that is named is not defined."
    NO_VRID = "LK0406", "An instance has no virtual_router_id."
    NO_INTERFACE = "LK0407", "An instance has no interface, and no unicast source in its place."
    NO_VIP = "LK0408", "An instance has no VIP."
    PREEMPT = "LK0409", "A keyword of pre-emption that has no effect."
    SAME_VIP = "LK0410", "Two entries have the same VIP."
    OWNER = "LK0411", "Priority 255 does not go with another keyword."
    INTERVAL = "LK0412", "An advert_int that the version cannot carry."
    AUTHENTICATION = "LK0413", "An authentication that is cut or ignored, or cannot be."
    STRICT = "LK0414", "vrrp_strict does not go with another keyword."
    EMPTY_PEERS = "LK0415", "A unicast_peer block is empty."
    TRACK_UNKNOWN = "LK0416", "Something that is tracked is not defined."
    GROUP_SIZE = "LK0417", "A sync group has one instance, or none."
    UNUSED_TRACK = (
        "LK0418",
        "Something is defined to be tracked, and nothing tracks it.",
        "name it in a track block, or remove it",
    )
    VIP_FAMILY = "LK0419", "A VIP is of another family than the instance."
    TOO_MANY_VIPS = "LK0420", "More VIPs than an advert holds."
    VERSION = "LK0421", "Version 2 does not know IPv6."
    PEER = "LK0422", "A source, peer or multicast group that cannot be."
    WEIGHT = "LK0423", "A weight that does not count."
    VMAC = (
        "LK0424",
        "A virtual device that cannot be, or a keyword that needs one.",
        "add the keyword that is named, or remove the line",
    )
    NO_EFFECT = "LK0425", "A keyword lacks another one, without which it does nothing."
    LINK_DELAY = "LK0426", "A delay for links that go down is not served."
    SYNC_DAEMON = "LK0427", "lvs_sync_daemon is given in two forms."
    DIRECTOR_TIMEOUT = "LK0428", "vrrp_director_timeout is too short, or has no effect."
    GARP_GROUP = "LK0429", "A garp_group without an interface, or two with the same one."
    CLEAR_PASSWORD = "LK0431", "A password stands in a file that others can read."
    GROUP_DIFFERS = "LK0432", "The instances of a sync group do not begin, or pre-empt, alike."
    MANY_ADVERTS = "LK0433", "More adverts than a router, or a link, carries well."
    PING_PONG = "LK0434", "A single result of a script moves the addresses, and the next one back."
    SLOW_ANNOUNCE = "LK0435", "The announcements of a takeover take long."
    VIP_NETWORK = "LK0430", "A VIP is the address of its network, or the broadcast address."

    def __init__(self, number: str, meaning: str, cure: str = "") -> None:
        self.number = number
        self.meaning = meaning
        self.cure = cure
        """What helps, where the hints of the diagnostics do not say it."""


def find_code(text: str) -> Code | None:
    """Return the code with the number or the name *text*, in any case."""
    wanted = text.upper().replace("-", "_")
    return next((code for code in Code if wanted in {code.number, code.name}), None)


def suggest_codes(text: str) -> str:
    """Return ``did you mean ...?`` with what *text* may have been meant for, or nothing."""
    close = get_close_matches(text.upper(), [code.number for code in Code], n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else ""
