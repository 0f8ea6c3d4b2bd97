"""Builds the images of real nodes from programs of this machine: nodes pull no images from the network.

Keep them small: their import is the longest step of a node's start.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from . import archive, pki
from .archive import File, Image, Layer, Link
from .binaries import ARCHITECTURE, cache_directory
from .processes import locate, run
from .progress import Progress

PAUSE = "registry.k8s.io/pause:3.10.2"
COREDNS = "registry.k8s.io/coredns/coredns:v1.12.0"
_PAUSE_TAGS = [PAUSE, "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10.1"]
_E2E = "registry.k8s.io/e2e-test-images"
_BUSYBOX_TAGS = [
    *(f"docker.io/library/busybox:{version}" for version in ("latest", "1.36", "1.37")),
    *(f"{_E2E}/busybox:{version}" for version in ("1.36.1-1", "1.37.0-2")),
]
# agnhost here also has what the tests of Kubernetes use glibc-dns-testing for: a shell, dig and getent.
_AGNHOST_TAGS = [f"{_E2E}/{name}" for name in ("agnhost:2.66.1", "agnhost:2.55", "glibc-dns-testing:2.1.1")]
# Stand-ins for other images of those tests; each adds a few bytes to the images above.
_NGINX_TAGS = [f"{_E2E}/nginx:{version}" for version in ("1.27.0-2", "1.28.0-2")]
_NAUTILUS_TAGS = [f"{_E2E}/nautilus:1.8"]
_NONEWPRIVS_TAGS = [f"{_E2E}/nonewprivs:1.4"]

_TOOLS = {"curl": "usr/bin/curl", "dig": "usr/bin/dig", "getent": "usr/bin/getent", "nc": "bin/nc"}
BINARIES = ("pause", "coredns", "agnhost")
# The C library loads these by name when a program resolves a host name, so ldd does not list them.
_RESOLVER_LIBRARIES = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
_ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
_PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
)
_GROUP = b"root:x:0:\ndefault-user:x:1000:\nnogroup:x:65534:\n"
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\n"


def ensure(binaries: dict[str, Path], progress: Progress) -> Path:
    """The archive of all images. It is built again only when one of its programs has changed."""
    programs = _programs()
    inputs = [*(binaries[name] for name in BINARIES), *programs.values(), Path(__file__), Path(archive.__file__)]
    key = hashlib.sha256(json.dumps([_fingerprint(path) for path in inputs]).encode()).hexdigest()[:16]
    target = cache_directory() / "images" / f"{key}.tar"
    if not target.exists():
        progress.step("images", "building pause, coredns, busybox, agnhost and the images based on them")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch, "images.tar")
            archive.write(made, _images(binaries, programs, Path(scratch)), ARCHITECTURE)
            os.replace(made, target)
        for old in sorted(target.parent.glob("*.tar"), key=lambda file: file.stat().st_mtime)[:-4]:
            old.unlink(missing_ok=True)
        progress.done("images", f"{target.stat().st_size >> 20} MiB stored in {target.parent}")
    return target


def _programs() -> dict[str, Path]:
    return {name: Path(locate(name)).resolve() for name in ("busybox", "bash-static", *_TOOLS)}


def _fingerprint(path: Path) -> list[str | int]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _images(binaries: dict[str, Path], programs: dict[str, Path], scratch: Path) -> list[Image]:
    base = _base_layer(programs)
    agnhost = [base, _agnhost_layer(binaries["agnhost"], programs, scratch)]
    # A setuid shell: it runs with the rights of the file's owner, unless no_new_privs prevents that.
    setuid_shell = {"usr/local/bin/nnp": File(programs["bash-static"], 0o4755)}
    effective_uid = ["/usr/local/bin/nnp", "-p", "-c", "echo Effective uid: $EUID"]
    return [
        Image(_PAUSE_TAGS, [{"pause": File(binaries["pause"])}], {"Entrypoint": ["/pause"], "User": "65535:65535"}),
        Image([COREDNS], [{"coredns": File(binaries["coredns"])}], {"Entrypoint": ["/coredns"], "WorkingDir": "/"}),
        Image(_BUSYBOX_TAGS, [base], {"Cmd": ["sh"], "Env": _ENVIRONMENT}),
        Image(
            _AGNHOST_TAGS,
            agnhost,
            {"Entrypoint": ["/agnhost"], "Cmd": ["pause"], "Env": _ENVIRONMENT, "WorkingDir": "/"},
        ),
        Image(
            _NAUTILUS_TAGS,
            [*agnhost, {"data.json": File(b'{"image": "nautilus.jpg"}\n', 0o644)}],
            {"Entrypoint": ["/agnhost"], "Cmd": ["test-webserver"], "Env": _ENVIRONMENT, "WorkingDir": "/"},
        ),
        Image(
            _NGINX_TAGS,
            [base, {"usr/share/nginx/html/index.html": File(b"Welcome to nginx!\n", 0o644)}],
            {"Cmd": ["httpd", "-f", "-p", "80", "-h", "/usr/share/nginx/html"], "Env": _ENVIRONMENT},
        ),
        Image(_NONEWPRIVS_TAGS, [base, setuid_shell], {"Cmd": effective_uid, "Env": _ENVIRONMENT}),
    ]


def _base_layer(programs: dict[str, Path]) -> Layer:
    """busybox with bash as /bin/sh: other shells drop environment variables with names such as data-1."""
    applets = run(programs["busybox"], "--list").split()
    return {
        "bin/busybox": File(programs["busybox"]),
        "bin/bash": File(programs["bash-static"]),
        "bin/sh": Link("/bin/bash"),
        **{f"bin/{applet}": Link("/bin/busybox") for applet in applets if applet not in ("busybox", "bash", "sh")},
        "etc/passwd": File(_PASSWD, 0o644),
        "etc/group": File(_GROUP, 0o644),
        "etc/nsswitch.conf": File(_NSSWITCH, 0o644),
    }


def _agnhost_layer(agnhost: Path, programs: dict[str, Path], scratch: Path) -> Layer:
    pki.self_signed(scratch, "localhost", "localhost")
    return {
        "agnhost": File(agnhost),
        "agnhost-2": Link("/agnhost"),
        "localhost.crt": File(scratch / "localhost.crt", 0o644),
        "localhost.key": File(scratch / "localhost.key", 0o644),
        "uploads/.keep": File(b"", 0o644),
        **{path: File(programs[name]) for name, path in _TOOLS.items()},
        **_libraries([programs[name] for name in _TOOLS]),
    }


def _libraries(programs: list[Path]) -> dict[str, File]:
    """The shared libraries of these programs, at the paths where the loader searches for them."""
    found: dict[str, File] = {}
    folders: set[Path] = set()
    for program in programs:
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
        for path in re.findall(r"(?:=> |^\s+)(/\S+) \(", listed, re.MULTILINE):
            found[path.lstrip("/")] = File(Path(path).resolve())
            folders.add(Path(path).parent)
    for folder in folders:
        for name in _RESOLVER_LIBRARIES:
            if (folder / name).exists():
                found[str(folder / name).lstrip("/")] = File((folder / name).resolve())
    return found
