"""docs/configuration.md, made from the keyword table: ``python -m lvskeeper.config.reference``."""

import sys
from typing import Final

from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS

_INTRO: Final = """\
# Configuration

This page is made from the keyword table of the program (`python -m lvskeeper.config.reference`).

`lvskeeper check FILE` reads a file, tells everything that is wrong with it, and changes nothing.
Its exit status is 0 for a good file, 1 for warnings with `--strict`, 2 for errors. With
`--format json` it prints one JSON document, with `--format github` workflow commands. So
`validate: lvskeeper check %s` of Ansible's `template` and `copy` keeps a wrong file out. Commented
examples are in `conf/`.

`check` looks at the machine that it runs on, too: an interface that does not exist is an error
(with `dynamic_interfaces` a warning), a script that is missing, cannot be executed or can be
written by others is a warning. `--elsewhere` is for files of another machine. The daemon itself
starts without an interface, and waits for it.

Errors refuse the file, also where keepalived says a word in its log and goes on. With `--compat
keepalived`, or `compat keepalived` in `global_defs`, what keepalived merely logs is a warning: the
line or block is left out, the rest is served. What would do harm stays an error.

## The form of keepalived.conf

- One keyword a line, then its values. `{` and `}` make a block. A line cannot be continued.
- `#` and `!` start a comment anywhere outside quotes; `\\#` and `\\!` are the characters.
- `"..."` is one word and may hold blanks. It ends on its line and knows no escapes.
- `include PATTERN` reads other files at that place, also within a block. The pattern counts from
  the folder of the file that includes; `*`, `?`, `[...]` and `{a,b}` are understood. A file closes
  the blocks that it opens. A file that ends in `.yaml` or `.yml` is read as YAML. A file that
  cannot be read, is no regular file or is executable is an error, and so is one that is named and
  missing; `includer` and `includeb` only warn of the latter. A pattern that matches nothing is an
  error for `includew` and `includea`, and for `includeb` and `includea` so is each choice within
  braces that matches nothing.
- `$NAME=VALUE` on a line of its own defines a name from there on, in all files. `${NAME}` stands
  for it anywhere, `$NAME` only before a blank, `,`, `)` or the line's end. A definition that ends
  with a backslash goes on in the next line; it may be used at the end of a line only, and makes
  several.
- `${_PWD}` is the folder of the file, `${_INSTANCE}` the configuration's id, `${_ENV NAME}` a
  variable of the environment, `${_RANDOM [MIN [MAX]]}` a number (0 to 32767), `${_HASH}` a `#`,
  `${_BANG}` a `!`.
- `@ID ...` is a line for the configuration with that id, `@^ID ...` for all others. The id is the
  node's name up to its first dot, or that of `--config-id`.
- `~SEQ(VAR, [START, [STEP,]] END) ...` repeats a line (or a definition of several lines) with
  numbers, `~SEQx` in hexadecimal; `~LST(VAR, A, B) ...` and `~LST({V, W}, {A, B}, {C, D}) ...` with
  values.
- BOOL is `true`, `on`, `yes` or `false`, `off`, `no`; a keyword of which only the name is given is
  on. keepalived itself passes over the word behind `alpha`, `omega`, `ops` and the like in a
  virtual server and switches them on, so `off` there is a warning. SECONDS is a decimal number
  without a unit.
- `"CMD ARGS" [USER [GROUP]]` runs a command without a shell. Both kinds of quotes group its
  arguments, and a backslash escapes; but no double quote can stand within double quotes, so quote
  arguments with single ones. Without a user it runs as `script_user`.

## The form of YAML

The same keywords with the same values. Every plain value is read as the keyword says, so `no`,
`010` and `1:30` hold no surprise. A key that is given twice is an error.

- A block is a mapping; a keyword without a value is `keyword: yes`.
- `virtual_servers`, `real_servers` and `urls` are lists of mappings. What stands on the block's
  own line is the keys `address` and `port`, or `fwmark`, or `group`.
- `vrrp_instances`, `vrrp_sync_groups`, `vrrp_scripts`, `vrrp_track_processes`, `track_files`,
  `track_groups` and `garp_groups` are lists of mappings, too. A name on the block's own line is the
  key `name`.
- A block that holds entries is a list of them, each written as in the other form:
  `virtual_ipaddress: [192.0.2.10/24, 192.0.2.11/24 dev eth1]`.
- `local_address_groups` and `virtual_server_groups` are mappings from a name to a list of entries,
  and an entry is written as in the other form: `192.0.2.16-19 80`.
- A command is one value, arguments and all; a list adds user and group:
  `notify_up: [/usr/local/bin/tell rs1, operator]`.
- A keyword that may be given again and again takes a list of lists:
  `key: [[1, file:old], [2, file:new]]`.
- The checks of a real server are keys of it, one a kind; where their order among each other
  matters, `checks` is a list of them: `checks: [{TCP_CHECK: {}}, {PING_CHECK: {}}]`.
- `include: PATTERN`, or a list of them, at any place where keywords stand.
- Anchors and aliases share what is the same; a file in which they multiply to far more than it has
  characters is refused. Merge keys (`<<`) and tags (`!!binary`) are not served.
- `lvskeeper schema` prints a JSON schema, docs/lvskeeper.schema.json, for editors.

## From one form to the other

`lvskeeper convert FILE` writes keepalived.conf as YAML, and YAML as keepalived.conf. Both come to
the same configuration: the result is read again, and a difference is an error. Comments stay with
their keywords. Includes, definitions, conditions (as they hold here) and sequences are resolved, as
YAML has no word for most of them; a comment on top says so, and so `--to keepalived` of a
keepalived.conf shows what it stands for. Of a keyword that is given twice the one that counts is
written. What `--compat keepalived` leaves out becomes a comment, and so does a block that is passed
over and has no form in YAML. Files of keys are looked for from the folder of the new file.
keepalived.conf cannot hold a value with a double quote or a line end; such a value of YAML is
refused with its place.

## Keywords

*From* tells who has the keyword: K keepalived, T the FULLNAT fork of Taobao, D DPVS, L lvskeeper
alone. *Since* is the first version of keepalived that has it, of 1.2.2, 2.0.19, 2.2.7 and 2.4.3.

Every keyword of keepalived 2.4.3 and of both forks is known. What is *passed over* has its value
read, and a warning says that nothing acts on it, and why. To pass over what is *refused* would
change what is served, so that it is an error.

A check takes a time or a count from the innermost block that gives it: the check, the real server,
the virtual server, else the default. The first check comes after a random time up to `warmup`.

A real server is up while all of its checks are. What differs from keepalived: `delay_loop` counts
from start to start; one probe asks for all urls; a body in chunks is put together before `digest`
and `regex` see it; a required answer of UDP_CHECK that is shorter than the wanted one fails; and
where the director itself cannot probe, as a file, a program or a free port is missing, that is told
and changes nothing about the server. Of weights that checks give, each adds its difference from the
configured one. Checks of several virtual servers that ask the same in the same rhythm are made
once, and each gets the result. Where many begin at once, first checks are spread over up to a whole
`delay_loop`, a thousand a second. A check that has found out nothing for three intervals is
unknown: that is told (`check_unknown`), and its server goes on as it was.
"""

_HEADS: Final = {
    Status.SERVED: "| Keyword | Default | Meaning | From | Since |",
    Status.NOTED: "| Passed over | Meaning | Why | From | Since |",
    Status.REFUSED: "| Refused | Meaning | Why | From | Since |",
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _usage(keyword: Keyword) -> str:
    usage = _cell(f"{keyword.name} {keyword.args}".strip())
    return f"`{usage}{' { }' if keyword.block else ''}`"


def _row(keyword: Keyword) -> str:
    told = (keyword.default, keyword.doc, ", ".join(keyword.origin), keyword.since)
    return f"| {_usage(keyword)} | {' | '.join(map(_cell, told))} |"


def _why(keyword: Keyword) -> str:
    told = (keyword.doc, keyword.reason, ", ".join(keyword.origin), keyword.since)
    return f"| {_usage(keyword)} | {' | '.join(map(_cell, told))} |"


def _section(block: str) -> list[str]:
    keywords = BLOCKS[block].values()
    lines = ["", f"### {block or 'Top level'}"]
    for status, head in _HEADS.items():
        found = [one for one in keywords if one.status is status]
        if found:
            row = _row if status is Status.SERVED else _why
            lines += ["", head, "| --- | --- | --- | --- | --- |", *map(row, found)]
    return lines


def render() -> str:
    """Return the whole page."""
    lines = [_INTRO.rstrip()]
    for block in BLOCKS:
        lines += _section(block)
    lines += [
        "",
        "## Diagnostics",
        "",
        "Their codes are explained in [diagnostics.md](diagnostics.md).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
