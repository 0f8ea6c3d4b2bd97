"""Finds, downloads or builds the programs that clusters run, and keeps them in a cache.

The sources, in this order: the directories in LOCALKUBE_BIN and KUBEBUILDER_ASSETS (both may be lists, as PATH is); the
user's cache; the official release (tried once); `go build` of the version that go.mod pins. The key of the cache covers
all inputs of a build, so another version or flag never finds an old file. Files appear there only when complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .download import Downloads
from .errors import LocalkubeError
from .processes import SEARCH_PATH, end_of_log
from .progress import Progress

_HERE = Path(__file__).resolve().parent
_CONFORMANCE = _HERE.parent / "conformance"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Binary:
    """A program. `package` is its Go package (None: a C program); `module` is the folder of the go.mod that pins it."""

    name: str
    package: str | None
    module: Path = _HERE
    released: bool = False
    """The Kubernetes project publishes the program."""
    test: bool = False
    """The program consists of the package's tests (`go test -c`)."""


def _kubernetes(name: str) -> Binary:
    return Binary(name, f"k8s.io/kubernetes/cmd/{name}", released=True)


_BINARIES = {
    binary.name: binary
    for binary in (
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kube-proxy"),
        _kubernetes("kubelet"),
        _kubernetes("kubectl"),
        Binary("etcd", "go.etcd.io/etcd/server/v3"),
        Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Binary("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
        Binary("coredns", "github.com/coredns/coredns", module=_HERE / "coredns"),
        Binary("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", module=_HERE / "metrics-server"),
        Binary("pause", None),
        Binary("e2e.test", "k8s.io/kubernetes/test/e2e", module=_CONFORMANCE, test=True),
        Binary("ginkgo", "github.com/onsi/ginkgo/v2/ginkgo", module=_CONFORMANCE),
    )
}

# The official archive of Go is unpacked to /usr/local/go, which is often missing in PATH.
_GO_SEARCH_PATH = f"{SEARCH_PATH}:/usr/local/go/bin"
_C_FLAGS = ("-Os", "-static", "-s")


def cache_directory() -> Path:
    """The user's cache of binaries and images."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "vk-provider"


def ensure(names: Iterable[str], progress: Progress) -> dict[str, Path]:
    """The paths of these programs; builds missing ones. Raises LocalkubeError if a tool for the build is missing."""
    wanted = [_BINARIES[name] for name in names]
    found = {binary.name: path for binary in wanted if (path := _given(binary.name) or _cached(binary))}
    missing = [binary for binary in wanted if binary.name not in found]
    if not missing:
        return found
    with _cache_lock(progress):
        downloads = Downloads(kubernetes_version(), ARCHITECTURE, progress)
        for number, binary in enumerate(missing, start=1):
            target = _cache_path(binary)
            if not target.exists():  # another process may have built it while this one waited for the lock
                label = f"{binary.name} ({number} of {len(missing)})"
                with _temporary(target) as temporary:
                    if not (binary.released and downloads.fetch(binary.name, label, temporary)):
                        _build(binary, label, temporary, progress)
            found[binary.name] = target
        progress.done("binaries", f"{len(missing)} stored in {cache_directory() / 'bin'}")
    return found


def kubernetes_version() -> str:
    """The version that go.mod pins, for example v1.37.2."""
    match = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (_HERE / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise LocalkubeError(f"{_HERE / 'go.mod'} does not require k8s.io/kubernetes; restore it from git")
    return match.group(1)


def _given(name: str) -> Path | None:
    for variable in ("LOCALKUBE_BIN", "KUBEBUILDER_ASSETS"):
        for directory in filter(None, os.environ.get(variable, "").split(os.pathsep)):
            path = Path(directory, name).absolute()
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None


def _cached(binary: Binary) -> Path | None:
    path = _cache_path(binary)
    return path if path.is_file() else None


def _cache_path(binary: Binary) -> Path:
    key = hashlib.sha256()
    for part in (binary.module / "go.mod", binary.module / "go.sum"):
        key.update(part.read_bytes())
    key.update("\0".join([ARCHITECTURE, *_go_flags(), *_C_FLAGS]).encode())
    return cache_directory() / "bin" / key.hexdigest()[:16] / binary.name


def _go_flags() -> list[str]:
    """Compiles the version in: without it, the components report v0.0.0 and reject one another."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    fields = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    variables = [f"-X {package}.{field}={value}" for package in packages for field, value in fields.items()]
    return ["-trimpath", "-ldflags", " ".join(["-s -w", *variables])]


def _build(binary: Binary, label: str, target: Path, progress: Progress) -> None:
    if binary.package is None:
        source = _go_output(binary.module, "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
        if not source:
            _go_output(binary.module, "mod", "download", "k8s.io/kubernetes")
            source = _go_output(binary.module, "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
        command = ["gcc", *_C_FLAGS, "-o", str(target), f"{source}/build/pause/linux/pause.c"]
    else:
        verb = ("test", "-c") if binary.test else ("build",)
        command = ["go", *verb, *_go_flags(), "-o", str(target), binary.package]
    _make(command, binary, progress, label)


def _make(command: list[str], binary: Binary, progress: Progress, label: str) -> None:
    """Runs a compiler, and shows the elapsed time every 10 s."""
    log = _cache_path(binary).parent / f"{binary.name}.log"
    begin = time.monotonic()
    with log.open("wb") as output:
        process = _popen(command, binary.module, output.fileno())
        with process:
            try:
                while True:
                    progress.step("binaries", f"building {label}, {time.monotonic() - begin:.0f} s")
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=10)
                        break
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        raise LocalkubeError(f"building {binary.name} failed; the end of {log}:\n{end_of_log(log)}")
    log.unlink()


def _popen(command: list[str], directory: Path, output: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CGO_ENABLED": "0", "PATH": _GO_SEARCH_PATH}
    try:
        return subprocess.Popen(command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, env=environment)
    except FileNotFoundError as error:
        raise LocalkubeError(_missing_compiler(command[0])) from error


def _missing_compiler(program: str) -> str:
    if program == "go":
        remedy = f"install Go {_go_version()} or newer, or set LOCALKUBE_BIN to a directory with the binaries"
        return f"the Go toolchain (program go) is missing; {remedy}"
    return f"the program {program} is missing; install it with: hack/setup --system"


def _go_version() -> str:
    match = re.search(r"^go (\S+)", (_HERE / "go.mod").read_text(), re.MULTILINE)
    return match.group(1) if match else "1.26"


def _go_output(directory: Path, *arguments: str) -> str:
    environment = {**os.environ, "PATH": _GO_SEARCH_PATH}
    try:
        done = subprocess.run(["go", *arguments], cwd=directory, capture_output=True, text=True, env=environment)
    except FileNotFoundError as error:
        raise LocalkubeError(_missing_compiler("go")) from error
    if done.returncode:
        raise LocalkubeError(f"go {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A file in the same folder that replaces the target when the block succeeds, and is removed otherwise."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _cache_lock(progress: Progress) -> Iterator[None]:
    """Only one process builds. The others wait, and then find the result."""
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / ".lock").open("w")
    except OSError as error:
        raise LocalkubeError(
            f"cache {directory}: {error.strerror}; make it writable, or set XDG_CACHE_HOME to a writable directory"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("binaries", "waiting for another localkube process that builds them")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
