"""Ask an image registry which digest a tag has now: the pull half of the registry HTTP API, and no more of it.

Source: the OCI distribution specification 1.1 (`GET /v2/NAME/manifests/TAG`, digests) and Docker's token
authentication (a 401 names a realm that gives anonymous tokens for public images). The digest is computed from what
came, and must be what the registry says it is.

Left out: credentials (private registries: `skopeo inspect` or `crane digest`, and edit bases.json), pulling layers,
redirects: a manifest is served by the registry itself.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from containers.tools.process import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from containers.tools.pins import Reference

# An index before a manifest: it covers every architecture under one digest.
ACCEPT = (
    "application/vnd.oci.image.index.v1+json,application/vnd.docker.distribution.manifest.list.v2+json,"
    "application/vnd.oci.image.manifest.v1+json,application/vnd.docker.distribution.manifest.v2+json"
)
LARGEST = 4 * 1024 * 1024  # bytes; the specification asks registries to take manifests of 4 MiB
TIMEOUT_S = 30.0
_SERVERS = {"docker.io": "registry-1.docker.io"}  # where Docker Hub's registry answers
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would take the token along to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Give up; the caller sees the 3xx."""


def resolve(reference: Reference) -> str:
    """Return the digest that a tag has now.

    Args:
        reference: its tag is asked for, whatever its digest.

    Raises:
        ToolError: not reachable, no such tag, not public, or the answer does not fit its own digest.
    """
    host = _SERVERS.get(reference.host, reference.host)
    url = f"{_scheme(host)}://{host}/v2/{reference.repository}/manifests/{reference.tag}"
    headers = {"Accept": ACCEPT}
    status, answered, body = _get(url, headers)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["Authorization"] = f"Bearer {_token(answered.get('www-authenticate', ''), reference)}"
        status, answered, body = _get(url, headers)
    if status != HTTPStatus.OK:
        hint = {404: "; check the tag", 401: "; is it public?", 403: "; is it public?", 429: "; wait, or log in"}
        raise ToolError(f"{reference.name}: {url} answered {status}{hint.get(status, '')}")
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    said = answered.get("docker-content-digest", digest)
    if said != digest:
        raise ToolError(f"{reference.name}: {host} says {said} and sent {digest}; do not use it")
    return digest


def _token(challenge: str, reference: Reference) -> str:
    """An anonymous token of the realm that a 401 names."""
    parameters = dict(_PARAMETER.findall(challenge))
    realm = parameters.get("realm", "")
    parts = urllib.parse.urlsplit(realm)
    if not challenge.lower().startswith("bearer ") or parts.scheme != _scheme(parts.netloc):
        raise ToolError(f"{reference.name}: its registry wants a login ({challenge[:80] or 'no challenge'})")
    scope = parameters.get("scope") or f"repository:{reference.repository}:pull"
    query = urllib.parse.urlencode({"service": parameters.get("service", ""), "scope": scope})
    status, _, body = _get(f"{realm}?{query}", {})
    try:
        answer = json.loads(body) if status == HTTPStatus.OK else {}
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str):
        raise ToolError(f"{reference.name}: {parts.netloc} gave no anonymous token ({status}); is the image public?")
    return token


def _get(url: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body."""
    handlers: list[urllib.request.BaseHandler] = [_Stay()]
    if url.startswith("http:"):
        handlers.append(urllib.request.ProxyHandler({}))  # loopback is never behind a proxy
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - https, or http to loopback: _scheme
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as response:
            status, answered, body = response.status, response.headers, response.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        with error:
            status, answered, body = error.code, error.headers, b""
    except OSError as error:
        raise ToolError(f"{url}: {getattr(error, 'reason', error)}") from None
    if len(body) > LARGEST:
        raise ToolError(f"{url}: more than {LARGEST} bytes; that is no manifest")
    return status, {name.lower(): value for name, value in answered.items()}, body


def _scheme(host: str) -> str:
    """Plaintext for this machine alone."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return "http" if ipaddress.ip_address(name).is_loopback else "https"
    except ValueError:
        return "https"
