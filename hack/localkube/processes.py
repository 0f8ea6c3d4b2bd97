"""Processes that outlive the shell, found again by a mark in their environment instead of by files of pids.

Each one is started with `LOCALKUBE_OWNER=IDENT/CLUSTER/SERVICE` and nothing else of the caller's environment but PATH
and HOME. The kernel then tells who runs: no pid file can be stale, and what a killed `up` had just started is found
as surely as the rest. Helpers that a daemon starts itself (containerd's shims) inherit the mark; what counts as the
service itself is decided by the name of the executable.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LocalkubeError

_MARK = "LOCALKUBE_OWNER"
# Programs that stand before the daemon for a moment (setsid) or for its whole life (nsenter -p waits for its child).
_WRAPPERS = frozenset({"setsid", "nsenter", "unshare"})
_EXEC_RETRIES = 500
_STAT_ENV_END = 51 - 3  # proc(5) counts from 1, and two fields are before the parenthesis
SEARCH_PATH = ":".join(
    dict.fromkeys([*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
)


@dataclass(frozen=True)
class Process:
    """A running process that localkube started, or a child that inherited its mark."""

    pid: int
    cluster: str
    service: str
    program: str
    """Base name of the executable."""

    def is_service(self, program: str) -> bool:
        """Whether this is the daemon `program` or the wrapper around it, not a helper of the daemon's."""
        return self.program == program or self.program in _WRAPPERS


def mark(ident: str, cluster: str, service: str) -> str:
    return f"{ident}/{cluster}/{service}"


def find(ident: str, cluster: str | None = None, service: str | None = None) -> list[Process]:
    """The running processes of a state directory, of one cluster or one service; zombies do not count."""
    found = []
    prefix = f"{_MARK}={ident}/".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with contextlib.suppress(OSError):
            environment = _environment(entry)
            for variable in environment.split(b"\0"):
                if variable.startswith(prefix):
                    _, its_cluster, its_service = variable.decode().split("/", 2)
                    if cluster in (None, its_cluster) and service in (None, its_service):
                        program = os.path.basename(os.readlink(f"/proc/{entry}/exe"))
                        found.append(Process(int(entry), its_cluster, its_service, program.removesuffix(" (deleted)")))
                    break
    return found


def _environment(pid: str) -> bytes:
    """The environment of a process; one that is just becoming another program is waited for.

    The kernel shows an empty environment between dropping the old program and laying out the new one.
    """
    for _ in range(_EXEC_RETRIES):
        environment = Path("/proc", pid, "environ").read_bytes()
        if environment or not _is_between_programs(pid):
            return environment
        time.sleep(0.002)
    return b""


def _is_between_programs(pid: str) -> bool:
    os.readlink(f"/proc/{pid}/exe")  # raises for kernel threads and zombies, which have no program
    fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    return fields[_STAT_ENV_END] == "0"


def spawn(owner: str, argv: Sequence[str], log: Path) -> None:
    """Starts a daemon in a session of its own, output appended to `log`.

    `setsid --fork` makes it a child of init, so that neither a shell's end nor a library user who never waits matters.
    """
    environment = {"PATH": SEARCH_PATH, "HOME": os.environ.get("HOME", "/"), _MARK: owner}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", *argv],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
        )


def kill(find_them: Callable[[], list[Process]], deadline: float = 60.0) -> None:
    """SIGKILLs what `find_them` finds until it finds nothing, so that a process that was being born is caught as well.

    Returns when the processes have ended entirely: their ports, locks and namespaces are free. `deadline` in seconds.
    """
    end = time.monotonic() + deadline
    while processes := find_them():
        ended = [_kill(process, max(0.0, end - time.monotonic())) for process in processes]
        if not all(ended):
            stuck = ", ".join(f"{process.pid} ({process.program})" for process in processes)
            raise LocalkubeError(f"processes {stuck} do not end after SIGKILL in {deadline:.0f} s; see /proc/PID/stack")


def _kill(process: Process, timeout: float) -> bool:
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(handle)


def locate(program: str) -> str:
    """The path of a program of the operating system's. Raises with how to install it."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        raise LocalkubeError(f"the program {program} is missing; install it with: hack/setup --system")
    return path


def run(*argv: str | Path, stdin: str | None = None) -> str:
    """Runs a short command to its end and returns what it printed; a failure carries the command's own last words."""
    command = [str(argument) for argument in argv]
    done = subprocess.run(
        [locate(command[0]), *command[1:]],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": SEARCH_PATH},
    )
    if done.returncode:
        words = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        words = words or f"exit status {done.returncode}"
        raise LocalkubeError(f"{' '.join(command)}: {words}")
    return done.stdout


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a log, for an error message."""
    with contextlib.suppress(OSError):
        text = log.read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:]) if text else "(its log is empty)"
    return "(it has no log)"
