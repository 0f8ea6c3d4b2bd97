"""The one error that localkube raises on purpose."""

from __future__ import annotations


class LocalkubeError(Exception):
    """Something the user can act on: its text names the object, the cause and what to do next.

    The command line prints it as one line and exits with status 1; anything else is a defect and keeps its traceback.
    """
