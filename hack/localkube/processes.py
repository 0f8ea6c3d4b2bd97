"""Processes that outlive the shell. A mark in their environment identifies them, instead of pid files.

Each one starts with `LOCALKUBE_OWNER=IDENT/CLUSTER/SERVICE`, and with only PATH and HOME of the caller's environment.
The kernel then shows what runs: no pid file can be stale, and processes that a killed `up` has just started are found
too. Helpers of a daemon (containerd's shims) inherit the mark; the name of the executable identifies the daemon itself.
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
# Programs that start the daemon, and end at once (setsid) or with it (nsenter -p waits for its child).
_WRAPPERS = frozenset({"setsid", "nsenter", "unshare"})
_EXEC_RETRIES = 500
_STAT_ENV_END = 51 - 3  # field 51 of proc(5), which counts from 1; two fields precede the parenthesis
SEARCH_PATH = ":".join(
    dict.fromkeys([*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
)


@dataclass(frozen=True)
class Process:
    """A running process that localkube started, or a child that inherited the mark."""

    pid: int
    cluster: str
    service: str
    program: str
    """The base name of the executable."""

    def is_service(self, program: str) -> bool:
        """Whether this is the daemon `program` or its wrapper, not a helper of the daemon."""
        return self.program == program or self.program in _WRAPPERS


def mark(ident: str, cluster: str, service: str) -> str:
    return f"{ident}/{cluster}/{service}"


def find(ident: str, cluster: str | None = None, service: str | None = None) -> list[Process]:
    """The running processes of a state directory, of one cluster or of one service, without zombies."""
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
    """The environment of a process. Waits if the process is executing another program.

    During exec, the kernel shows an empty environment for a moment.
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
    """Starts a daemon in a new session; its output is appended to `log`.

    `setsid --fork` makes it a child of init: it survives the end of the shell, and callers need not wait for it.
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
    """Kills the processes that `find_them` returns (SIGKILL). Repeats until it returns none: more may be starting.

    Returns when the processes have ended completely: their ports, locks and namespaces are free. `deadline` in seconds.
    """
    end = time.monotonic() + deadline
    while processes := find_them():
        ended = [_kill(process, max(0.0, end - time.monotonic())) for process in processes]
        if not all(ended):
            stuck = ", ".join(f"{process.pid} ({process.program})" for process in processes)
            raise LocalkubeError(f"processes {stuck} still run {deadline:.0f} s after SIGKILL; see /proc/PID/stack")


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
    """The path of a program of the operating system. Raises LocalkubeError with the command that installs it."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        raise LocalkubeError(f"the program {program} is missing; install it with: hack/setup --system")
    return path


def run(*argv: str | Path, stdin: str | None = None) -> str:
    """Runs a short command, and returns its output. Raises LocalkubeError with the end of the output if it fails."""
    command = [str(argument) for argument in argv]
    done = subprocess.run(
        [locate(command[0]), *command[1:]],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": SEARCH_PATH},
    )
    if done.returncode:
        cause = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise LocalkubeError(f"{' '.join(command)}: {cause or f'exit status {done.returncode}'}")
    return done.stdout


def end_of_log(log: Path, lines: int = 3) -> str:
    """The last lines of a log, for an error message."""
    with contextlib.suppress(OSError):
        text = log.read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:]) if text else "(the log is empty)"
    return "(there is no log)"


def wait_until(condition: Callable[[], bool], otherwise: str, seconds: float = 10.0) -> None:
    """Polls a condition of the kernel, which sends no notification; after `seconds`, raises `otherwise` as an error."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise LocalkubeError(otherwise)
        time.sleep(0.01)
