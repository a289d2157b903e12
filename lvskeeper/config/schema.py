"""The JSON schema of the YAML form, made from the keyword table, for editors.

It follows draft 2020-12. Editors read YAML by the rules of 1.1 or 1.2, so that ``yes`` is a text or
a truth to them, and a number is a number: the schema takes both. What is given up for that is told
by ``lvskeeper check``, which judges more than a schema can anyway.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.include import INCLUDES
from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS, ENTRY_BLOCKS, ROOT
from lvskeeper.config.value_type import Kind, ValueType
from lvskeeper.config.values import FALSE, TRUE
from lvskeeper.config.yaml_source import CHECKS, HEADS, PLURALS

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Schema: TypeAlias = dict[str, Json]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_PLURAL_OF: Final = {name: plural for plural, name in PLURALS.items()}
_SCALAR: Final[Schema] = {"type": ["string", "number", "boolean"]}
_WORDS: Final[Schema] = {"type": "array", "items": {"$ref": "#/$defs/word"}}
_NULL: Final[Schema] = {"type": "null"}
_HEADS: Final[Mapping[str, Schema]] = {
    "address": {"type": "string", "description": "The address on the block's own line."},
    "port": {
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": 65_535,
        "pattern": "^[0-9]+$",
        "description": "The port; without one, or with 0, all ports.",
    },
    "fwmark": {
        "type": ["integer", "string"],
        "minimum": 1,
        "pattern": "^[0-9]+$",
        "description": "A firewall mark in place of an address.",
    },
    "group": {"type": "string", "description": "A virtual_server_group in place of an address."},
    "name": {"type": ["string", "number"], "description": "The name on the block's own line."},
}


def schema() -> Schema:
    """Return the schema of a whole file."""
    defs: Schema = {
        "word": dict(_SCALAR),
        "entries": {
            "anyOf": [
                {"type": ["string", "number", "null"]},
                {
                    "type": "array",
                    "items": {"anyOf": [{"type": ["string", "number"]}, dict(_WORDS)]},
                },
            ]
        },
    }
    for block in BLOCKS:
        if block != ROOT:
            defs[block] = _block(block)
    return {
        "$schema": DRAFT,
        "title": "lvskeeper configuration",
        "description": "The YAML form of the configuration of lvskeeper.",
        **_block(ROOT),
        "$defs": defs,
    }


def _block(block: str) -> Schema:
    """Return the schema of the mapping that is one block."""
    properties: Schema = {}
    for keyword in BLOCKS[block].values():
        if keyword.status is Status.REFUSED:
            continue
        name = keyword.name
        made = _block_value(block, keyword) if keyword.block else _value(keyword)
        told = {"description": _description(keyword), **made}
        if keyword.instead:
            told["deprecated"] = True
        properties[_PLURAL_OF.get(name, name)] = told
        if name in _PLURAL_OF:
            properties[name] = {**told, "description": f"The same as {_PLURAL_OF[name]}."}
    if block == "real_server":
        properties[CHECKS] = _checks()
    for name in sorted(INCLUDES):
        properties[name] = {
            "description": "Other files that are read at this place.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        }
    heads = HEADS.get(block, ())
    properties.update({head: dict(_HEADS[head]) for head in heads})
    made = {
        "type": ["object", "null"] if not heads else "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**made, **_needed(heads)}


def _needed(heads: tuple[str, ...]) -> Schema:
    """Return what has to be there of the keys that stand for the block's own line."""
    forms = [head for head in heads if head != "port"]
    if not forms:
        return {}
    if len(forms) == 1:
        return {"required": [*forms]}
    return {"oneOf": [{"required": [form]} for form in forms]}


def _description(keyword: Keyword) -> str:
    parts = [keyword.doc]
    if keyword.args and not keyword.block:
        parts.append(f"Value: {keyword.args}.")
    if keyword.default:
        parts.append(f"Default: {keyword.default}.")
    if keyword.status is Status.NOTED:
        parts.append(f"Nothing acts on it: {keyword.reason or 'it is not served yet'}.")
    return " ".join(part for part in parts if part)


def _block_value(block: str, keyword: Keyword) -> Schema:
    """Return the schema of the value behind the key of a block."""
    if block == ROOT and keyword.name in ENTRY_BLOCKS:
        entries: Schema = {"$ref": "#/$defs/entries"}
        return {"type": ["object", "null"], "additionalProperties": entries}
    if keyword.entries is not None:
        return {"$ref": "#/$defs/entries"}
    if keyword.name not in BLOCKS:
        return {}  # it is passed over, whatever it holds
    one: Schema = {"$ref": f"#/$defs/{keyword.name}"}
    # Not anyOf: of that an editor could only say that nothing fits.
    return {
        "type": ["array", "object", "null"],
        "items": one,
        "if": {"type": "object"},
        "then": one,
    }


def _checks() -> Schema:
    """Return the schema of a list of checks."""
    kinds: Schema = {
        name: {"$ref": f"#/$defs/{name}"}
        for name, keyword in BLOCKS["real_server"].items()
        if keyword.key == CHECKS and name in BLOCKS
    }
    item: Schema = {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
    }
    told = "The checks, where their order among each other matters."
    return {"description": told, "type": ["array", "null"], "items": item}


def _value(keyword: Keyword) -> Schema:
    """Return the schema of the value of a plain keyword."""
    forms = _forms(keyword)
    if keyword.least == 1:
        forms.append(dict(_NULL))
    if keyword.most > 2:
        forms.append(dict(_WORDS))
    if keyword.many:
        forms.append({"type": "array", "items": dict(_WORDS)})
    return forms[0] if len(forms) == 1 else {"anyOf": [*forms]}


def _forms(keyword: Keyword) -> list[Schema]:
    """Return the schemas of one word."""
    kind = keyword.type
    if kind is None:
        return [{"$ref": "#/$defs/word"}]
    match kind.kind:
        case Kind.FLAG:
            return [{"enum": [True, False, *sorted(TRUE | FALSE), *kind.choices]}]
        case Kind.CHOICE:
            return [{"enum": _choices(keyword, kind)}]
        case Kind.INTEGER | Kind.SECONDS:
            words: Schema = {"enum": [*kind.choices]}
            return [*_number(kind), *([words] if kind.choices else [])]
        case Kind.ADDRESS:
            return [{"type": "string"}]
        case Kind.PATH | Kind.COMMAND | Kind.TEXT | Kind.WORDS:
            return [{"$ref": "#/$defs/word"}]


def _choices(keyword: Keyword, kind: ValueType) -> list[Json]:
    """Return the words of a choice, in lower case too where that is read, and as numbers."""
    found: list[Json] = [*kind.choices]
    found += [
        low for word in kind.choices if (low := word.lower()) != word and _reads(keyword, low)
    ]
    for word in kind.choices:
        number = _as_number(word)
        if number is not None:
            found.append(number)
    found += [truth for truth, words in ((True, TRUE), (False, FALSE)) if words & {*kind.choices}]
    return found


def _reads(keyword: Keyword, word: str) -> bool:
    assert keyword.read is not None
    try:
        keyword.read([keyword.name, word])
    except BadValueError:
        return False
    return True


def _as_number(word: str) -> int | float | None:
    try:
        return int(word) if word.isdecimal() else float(word)
    except ValueError:
        return None


def _number(kind: ValueType) -> list[Schema]:
    whole = kind.kind is Kind.INTEGER
    number: Schema = {"type": "integer" if whole else "number"}
    if kind.low is not None:
        number["minimum"] = int(kind.low) if kind.low == int(kind.low) else kind.low
    if kind.high is not None:
        number["maximum"] = int(kind.high) if kind.high == int(kind.high) else kind.high
    pattern = "^-?[0-9]+$" if whole else r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)$"
    return [number, {"type": "string", "pattern": pattern}]
