"""What is measured in the VM that counts instructions, in one boot of it."""

from bench import program, throughput


def main() -> None:
    """Print the rows of both."""
    program.main()
    throughput.main()


if __name__ == "__main__":
    main()
