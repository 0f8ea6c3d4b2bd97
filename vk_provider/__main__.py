"""`vk-provider`, and `python -m vk_provider`."""

from __future__ import annotations

from vk_provider.cli.root import cli


def main() -> None:
    """Exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage, 130 interrupted.

    3: a planned failover would leave pods behind.
    """
    cli(prog_name="vk-provider")


if __name__ == "__main__":
    main()
