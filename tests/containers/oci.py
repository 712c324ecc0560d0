"""Images without an engine: an OCI layout of one layer, as an archive, and behind the pull half of a registry.

Sources: the OCI image specification 1.1 (layout, manifest, config) and the distribution specification 1.1. What a test
needs of both and no more: one platform, no authentication.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_KIND = "application/vnd.oci.image"


@dataclass(frozen=True)
class Image:
    """An image.

    Args:
        manifest: its descriptor.
        blobs: digest -> content; of manifest, config and layer.
    """

    manifest: Mapping[str, Any]
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """What the image is named by."""
        return str(self.manifest["digest"])

    def archive(self, path: Path) -> Path:
        """Write it as an OCI archive (`oci-archive:` of skopeo and syft)."""
        index = {"schemaVersion": 2, "manifests": [self.manifest]}
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
        files |= {f"blobs/{digest.replace(':', '/')}": content for digest, content in self.blobs.items()}
        path.write_bytes(_tar(files))
        return path


def image(files: Mapping[str, bytes]) -> Image:
    """An image of one layer with these files, path -> content."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blobs[digest] = content
        return {"mediaType": f"{_KIND}.{kind}", "digest": digest, "size": len(content)}

    layer = blob(_tar(files), "layer.v1.tar")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created_by": "a test"}],
    }
    described = blob(json.dumps(config).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": f"{_KIND}.manifest.v1+json", "config": described, "layers": [layer]}
    return Image(blob(json.dumps(manifest).encode(), "manifest.v1+json"), blobs)


def _tar(files: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in sorted(folders):  # syft makes none that an archive does not name
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


@contextlib.contextmanager
def registry(manifests: dict[str, Image]) -> Iterator[str]:
    """Serve manifests, tag or digest -> image, under every repository's name; gives HOST:PORT on loopback."""

    class Registry(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            *_, kind, wanted = self.path.split("/")
            found, media = b"{}", "application/json"
            if kind == "manifests" and wanted in manifests:
                found, media = manifests[wanted].blobs[manifests[wanted].digest], f"{_KIND}.manifest.v1+json"
            elif kind == "blobs":
                held = {digest: content for one in manifests.values() for digest, content in one.blobs.items()}
                found, media = held[wanted], "application/octet-stream"
            self.send_response(404 if kind == "manifests" and wanted not in manifests else 200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found)

        do_HEAD = do_GET  # noqa: N815 - the server calls it so

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
