"""The codes of all diagnostics: one table, from which the documentation is made."""

from enum import Enum
from typing import final


@final
class Code(Enum):
    """A kind of diagnostic. Codes are stable: scripts may rely on them."""

    UNREADABLE = "LK0101", "A file cannot be read."
    INCLUDE_LOOP = "LK0102", "A file includes itself, directly or through others."
    INCLUDE_MISSING = "LK0103", "An include names a file that does not exist."
    INCLUDE_DEPTH = "LK0104", "Includes are nested too deep, or there are too many."
    QUOTE = "LK0105", "A quoted word is not closed on its line."
    BRACE_MISSING = "LK0106", "A block is opened and not closed."
    BRACE_EXTRA = "LK0107", "A closing brace has no block to close, or closes it too early."
    BRACE_STRAY = "LK0108", "An opening brace follows nothing that could have a block."
    NOT_UTF8 = "LK0109", "A file is not UTF-8; the odd bytes are replaced."
    NUL = "LK0110", "A file holds a NUL character."
    YAML_SYNTAX = "LK0111", "The YAML parser refuses the file."
    YAML_DUPLICATE = "LK0112", "A YAML mapping has a key twice."
    YAML_SHAPE = "LK0113", "A YAML value has another shape than its keyword needs."
    LANGUAGE = "LK0114", "A part of keepalived's language that is not served yet."

    UNKNOWN = "LK0201", "No such keyword."
    MISPLACED = "LK0202", "A keyword stands in a block where it has no meaning."
    NOTED = "LK0203", "A keyword of keepalived that is not served yet; it is skipped."
    REFUSED = "LK0204", "A keyword that is refused on purpose."
    NO_VALUE = "LK0205", "A keyword lacks its value."
    EXTRA = "LK0206", "Words follow that have no meaning; they are ignored."
    BAD_VALUE = "LK0207", "A value is not what the keyword takes."
    TWICE = "LK0208", "A keyword is given twice in one block; the later one counts."
    NO_BLOCK = "LK0209", "A keyword needs a block."
    BLOCK = "LK0210", "A keyword takes no block."
    PLACEHOLDER = "LK0211", "A template placeholder was not filled in."
    REQUIRED = "LK0212", "A block lacks a keyword that it cannot do without."
    SAME_NAME = "LK0213", "Two groups have the same name."
    UNCHECKED = "LK0214", "All checks of a real server are of kinds that are not served yet."

    IGNORED_WORD = "LK0215", "keepalived ignores the word behind a flag, and switches it on."
    PLACEHOLDER_PART = "LK0216", "Part of a value looks like a template's placeholder."

    FNAT_NO_POOL = "LK0301", "FNAT needs a local-address group."
    POOL_UNKNOWN = "LK0302", "A local-address group is not defined."
    POOL_FAMILY = "LK0303", "A local-address group has no address of the real servers' family."
    LIP_IS_VIP = "LK0304", "A local address is also a virtual address."
    FAMILY = "LK0305", "A real server has another address family than its virtual server."
    FNAT_OPS = "LK0306", "FNAT does not go with one-packet scheduling."
    FNAT_FWMARK = "LK0307", "FNAT by fwmark does not work on kernels with native FULLNAT."
    FNAT_UDP = "LK0308", "FNAT for UDP does not work on kernels with native FULLNAT."
    SYN_PROXY = "LK0309", "syn_proxy needs TCP, and NAT or FNAT."
    SYN_PROXY_LATER = "LK0310", "syn_proxy is parsed; its data path comes in a later release."
    QUORUM = "LK0311", "The quorum is above the sum of all weights, or is never gained."
    HYSTERESIS = "LK0312", "The hysteresis is not below the quorum."
    SAME_REAL = "LK0313", "A virtual server names a real server twice."
    SAME_VIRTUAL = "LK0314", "Two virtual servers claim the same service."
    SORRY = "LK0315", "A sorry server that can never be used, or is one of the real servers."
    GRANULARITY = "LK0316", "A persistence granularity that the address family does not have."
    THRESHOLDS = "LK0317", "The lower threshold is above the upper one."
    PORT_ZERO = "LK0318", "A service for all ports needs persistence."
    CHECK_PORT = "LK0319", "A check has no port to connect to."
    SLOW_CHECK = "LK0320", "A probe may take longer than the time between two."
    DEFAULTED = "LK0321", "A keyword that keepalived asks for is missing; its default is used."
    SCHED_FLAG = "LK0322", "A flag of one scheduler is given to another."
    EMPTY_GROUP = "LK0323", "A group has no members."
    UNUSED_GROUP = "LK0324", "A group is defined and not used."
    GROUP_UNKNOWN = "LK0325", "A virtual-server group is not defined."
    OPS_PROTOCOL = "LK0326", "One-packet scheduling has an effect on UDP only."
    PORT_KEPT = "LK0327", "DR and TUN do not translate ports."
    NO_CHECK = "LK0328", "A real server has no check, unlike others of its virtual server."
    NO_SERVERS = "LK0329", "A virtual server has no real servers."
    POOL_UNUSED = "LK0330", "A local-address group is named where nothing uses FNAT."
    MIXED_GROUP = "LK0331", "The members of a virtual-server group differ in address family."

    NO_PROTOCOL = "LK0332", "A virtual server does not name its protocol."
    SAME_LABEL = "LK0333", "Two virtual servers would be known by the same name."

    EXPOSED_KEY = "LK0401", "The file of a key can be read or written by others."
    HMAC = "LK0402", "An auth_hmac block whose keys do not fit."

    def __init__(self, number: str, meaning: str) -> None:
        self.number = number
        self.meaning = meaning
