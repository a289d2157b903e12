"""A big configuration in keepalived's form, for measurements: ten lines a real server."""

from typing import Final

PER_SERVICE: Final = 20
"""Real servers of one virtual server."""


def generate(real_servers: int, *, calm: bool = False) -> str:
    """Return a file with *real_servers* real servers, twenty a virtual server, each checked.

    *calm*: no check happens within the first minutes, so that a start can be measured alone.
    """
    pace = ["    delay_loop 36000", "    warmup 36000"] if calm else ["    delay_loop 6"]
    lines: list[str] = ["global_defs {", "    router_id big", "}"]
    for number in range(real_servers):
        service, place = divmod(number, PER_SERVICE)
        if place == 0:
            lines += [
                f"virtual_server 198.18.{service >> 8 & 255}.{service & 255} 80 {{",
                *pace,
                "    lb_algo wlc",
                "    lb_kind NAT",
                "    protocol TCP",
                "    quorum 1",
            ]
        lines += [
            f"    real_server 10.{number >> 16}.{number >> 8 & 255}.{number & 255} 8080 {{",
            "        weight 10",
            "        inhibit_on_failure",
            "        TCP_CHECK {",
            "            connect_timeout 3",
            "            retry 2",
            "            delay_before_retry 1",
            "            connect_port 8080",
            "        }",
            "    }",
        ]
        if place == PER_SERVICE - 1 or number == real_servers - 1:
            lines.append("}")
    return "\n".join(lines) + "\n"
