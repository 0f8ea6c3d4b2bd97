"""`vk-provider`, and `python -m vk_provider`.

The command line is imported when `main` runs: that takes most of the first second, and an interrupt must not show a
traceback then.
"""

from __future__ import annotations

import sys

from vk_provider.errors import INTERRUPTED


def main() -> None:
    """Exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage, 130 interrupted.

    3: a planned failover would leave pods behind.
    """
    try:
        from vk_provider.cli.root import cli

        cli(prog_name="vk-provider")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
