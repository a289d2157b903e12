"""The ``lvskeeper`` command: picks the subcommand, and turns errors into messages."""


def main() -> int:
    """Run the command line and return its exit status."""
    return 0
