"""A read-only image registry that serves one archive, so that `imagePullPolicy: Always` works without a network.

It runs as a separate program in the network of each cluster with real nodes: `registry.py ARCHIVE ADDRESS PORT`.
containerd sends it the requests for all registries, and names the registry in the parameter `ns`. An image that is not
in the archive gets 404 at once, instead of the timeout of an unreachable registry. It uses only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_DOCKER = "application/vnd.docker"
_MANIFEST = f"{_DOCKER}.distribution.manifest.v2+json"
_CONFIG = f"{_DOCKER}.container.image.v1+json"
_LAYER = f"{_DOCKER}.image.rootfs.diff.tar"
_BLOB = "application/octet-stream"
_UNKNOWN = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"localkube does not have this image"}]}'


@dataclass(frozen=True)
class Content:
    """A manifest, a configuration or a layer, identified by its digest. `data` is set only for content that is not in
    the archive.
    """

    digest: str
    size: int
    media_type: str
    offset: int = 0
    data: bytes | None = None


class Archive:
    """The content of an archive, by digest and by `REGISTRY/NAME:TAG`. Layers are read only when requested."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # open while the process runs: the cache may delete the file
        self._contents: dict[str, Content] = {}
        self._tags: dict[str, str] = {}
        with tarfile.open(fileobj=self._file) as tar:
            listed = tar.extractfile("manifest.json")
            assert listed is not None, f"{path} has no manifest.json"
            for image in json.load(listed):
                config = self._add_member(tar.getmember(image["Config"]))
                layers = [self._add_member(tar.getmember(layer)) for layer in image["Layers"]]
                manifest = json.dumps(
                    {
                        "schemaVersion": 2,
                        "mediaType": _MANIFEST,
                        "config": _descriptor(config, _CONFIG),
                        "layers": [_descriptor(layer, _LAYER) for layer in layers],
                    }
                ).encode()
                digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
                self._contents[digest] = Content(digest, len(manifest), _MANIFEST, data=manifest)
                self._tags.update(dict.fromkeys(image["RepoTags"], digest))

    def _add_member(self, member: tarfile.TarInfo) -> Content:
        """Reads the digest from the name: localkube's archives contain `DIGEST.json` and `DIGEST/layer.tar`."""
        digest = f"sha256:{member.name.removesuffix('.json').removesuffix('/layer.tar')}"
        content = Content(digest, member.size, _BLOB, offset=member.offset_data)
        return self._contents.setdefault(digest, content)

    def read(self, content: Content) -> bytes:
        if content.data is not None:
            return content.data
        return os.pread(self._file.fileno(), content.size, content.offset)

    def find(self, url: str) -> Content | None:
        """The content at `/v2/NAME/manifests/TAG-OR-DIGEST?ns=REGISTRY` or `/v2/NAME/blobs/DIGEST`."""
        parts = urlsplit(url)
        name, _, reference = parts.path.removeprefix("/v2/").rpartition("/")
        name, _, _ = name.rpartition("/")
        registry = parse_qs(parts.query).get("ns", ["docker.io"])[0]
        return self._contents.get(self._tags.get(f"{registry}/{name}:{reference}", reference))


def serve(archive: Archive, address: str, port: int) -> None:
    """Serves until the process is killed."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.rstrip("/") == "/v2":
                self._answer(HTTPStatus.OK, "application/json", b"{}")
            elif (content := archive.find(self.path)) is not None:
                self._answer(HTTPStatus.OK, content.media_type, archive.read(content), content.digest)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "application/json", _UNKNOWN)

        def _answer(self, status: HTTPStatus, media_type: str, data: bytes, digest: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(data)))
            if digest:
                self.send_header("Docker-Content-Digest", digest)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Logs nothing: the kubelet logs every pull."""

    ThreadingHTTPServer((address, port), Handler).serve_forever()


def _descriptor(content: Content, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "size": content.size, "digest": content.digest}


if __name__ == "__main__":
    serve(Archive(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
