"""What is measured in the VM that counts instructions, in one boot of it."""

from bench import checks_counted, program, throughput


def main() -> None:
    """Print the rows of all."""
    program.main()
    checks_counted.main()
    throughput.main()


if __name__ == "__main__":
    main()
