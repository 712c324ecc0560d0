"""What pulumi-gcp's plugin sends for the resources of the program that Local Vertex serves: paths, bodies, masks.

The plugin is Terraform's google provider, whose resources are written down in magic-modules: AiEndpoint is
``google_vertex_ai_endpoint`` (create and delete are operations, update is a PATCH that masks what changed),
AlertPolicy and NotificationChannel are those of Cloud Monitoring v3, Bucket is Cloud Storage's JSON API. Only what the
program writes is mapped; a property without a mapping is an error here, so that none goes unnoticed.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ATTRIBUTION = {"goog-pulumi-provisioned": "true"}
"""A label that the provider adds to whatever has labels."""


class Refused(AssertionError):  # noqa: N818 - named for what happened
    """An API answered with an error."""


@dataclass(frozen=True)
class Kind:
    """One resource type.

    Args:
        document: discovery document, and the message in it.
        parent: path of the collection, with the inputs' names in braces.
        fields: property -> field, and how its value is written where it is not the same.
        query: what the creation says beside its body.
        patch: method of an update, and whether it names what changed in updateMask.
        known: path of one resource, from the inputs and the creation's answer.
        drift: fields that are compared although the program does not write them.
        labels: field that the provider adds its own label to.
    """

    document: tuple[str, str]
    parent: str
    fields: Mapping[str, tuple[str, Callable[[Any], Any]]]
    known: Callable[[Mapping[str, Any], Mapping[str, Any]], str]
    query: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda _: {}
    masked: bool = True
    drift: tuple[str, ...] = ()
    labels: str = ""
    context: tuple[str, ...] = ("project", "location", "region", "name", "forceDestroy")

    def body(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The message that the provider sends."""
        found: dict[str, Any] = {}
        for key, value in inputs.items():
            if key in self.fields:
                name, write = self.fields[key]
                _put(found, name.split("."), write(_whole(value)))
            elif key not in self.context:
                raise KeyError(f"{self.document[1]}: {key} has no mapping here")
        if self.labels:
            found[self.labels] = {**found.get(self.labels, {}), **ATTRIBUTION}
        return found


def _put(found: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        found = found.setdefault(part, {})
    found[path[-1]] = value


def _whole(value: Any) -> Any:
    """Whole numbers as such: to Pulumi every number is a float, and the provider's schema says which are whole."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def same(value: Any) -> Any:
    return value


def _psc(value: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {"projectAllowlists": "projectAllowlist"}
    return {renamed.get(key, key): item for key, item in value.items() if item != []}


def _rules(rules: list[Mapping[str, Any]]) -> dict[str, Any]:
    def condition(given: Mapping[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in given.items() if key != "withState"}
        return {**told, **({"isLive": False} if given.get("withState") == "ARCHIVED" else {})}

    return {"rule": [{"action": rule["action"], "condition": condition(rule["condition"])} for rule in rules]}


def _fields(*names: str, **renamed: tuple[str, Callable[[Any], Any]]) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    return {**{name: (name, same) for name in names}, **renamed}


ENDPOINT = Kind(
    document=("aiplatform.v1", "GoogleCloudAiplatformV1Endpoint"),
    parent="v1/projects/{project}/locations/{location}/endpoints",
    query=lambda inputs: {"endpointId": inputs["name"]},
    fields=_fields(
        *("displayName", "description", "labels", "network", "encryptionSpec", "dedicatedEndpointEnabled"),
        "predictRequestResponseLoggingConfig",
        privateServiceConnectConfig=("privateServiceConnectConfig", _psc),
    ),
    known=lambda inputs, _: "v1/projects/{project}/locations/{location}/endpoints/{name}".format(**inputs),
    drift=("trafficSplit",),
    labels="labels",
)
POLICY = Kind(
    document=("monitoring.v3", "AlertPolicy"),
    parent="v3/projects/{project}/alertPolicies",
    fields=_fields(
        *("displayName", "combiner", "conditions", "severity", "notificationChannels", "userLabels"),
        *("alertStrategy", "documentation"),
    ),
    known=lambda _, answer: f"v3/{answer['name']}",
)
CHANNEL = Kind(
    document=("monitoring.v3", "NotificationChannel"),
    parent="v3/projects/{project}/notificationChannels",
    fields=_fields("displayName", "type", "labels", "userLabels"),
    known=lambda _, answer: f"v3/{answer['name']}",
)
BUCKET = Kind(
    document=("storage.v1", "Bucket"),
    parent="storage/v1/b",
    query=lambda inputs: {"project": inputs["project"]},
    fields=_fields(
        *("name", "location", "labels", "versioning", "encryption"),
        uniformBucketLevelAccess=("iamConfiguration.uniformBucketLevelAccess", lambda value: {"enabled": value}),
        publicAccessPrevention=("iamConfiguration.publicAccessPrevention", same),
        softDeletePolicy=(
            "softDeletePolicy",
            lambda value: {"retentionDurationSeconds": str(int(value["retentionDurationSeconds"]))},
        ),
        lifecycleRules=("lifecycle", _rules),
    ),
    known=lambda inputs, _: f"storage/v1/b/{inputs['name']}",
    masked=False,
    labels="labels",
)
KINDS: Mapping[str, Kind] = {
    "gcp:vertex/aiEndpoint:AiEndpoint": ENDPOINT,
    "gcp:monitoring/alertPolicy:AlertPolicy": POLICY,
    "gcp:monitoring/notificationChannel:NotificationChannel": CHANNEL,
    "gcp:storage/bucket:Bucket": BUCKET,
}


@dataclass
class Google:
    """The APIs behind one address.

    Args:
        root: http://127.0.0.1:PORT of a Local Vertex.
        timeout: seconds for an operation.
    """

    root: str
    timeout: float = 180.0
    sent: list[tuple[str, str]] = field(default_factory=list)

    def create(self, kind: Kind, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Its path, and what the API then has."""
        query = kind.query(inputs)
        answer = self.call("POST", kind.parent.format(**inputs), kind.body(inputs), **query)
        path = kind.known(inputs, self._done(answer))
        return path, self.get(path)

    def update(self, kind: Kind, path: str, inputs: Mapping[str, Any], changed: list[str]) -> dict[str, Any]:
        """Write what changed; what the API then has."""
        body = kind.body(inputs)
        query = {"updateMask": ",".join(sorted(changed))} if kind.masked else {}
        self._done(self.call("PATCH", path, {name: body.get(name) for name in changed}, **query))
        return self.get(path)

    def get(self, path: str) -> dict[str, Any]:
        return self.call("GET", path)

    def find(self, path: str) -> dict[str, Any] | None:
        """What is there, or None."""
        try:
            return self.get(path)
        except Refused as error:
            if error.args[0] == 404:
                return None
            raise

    def delete(self, path: str) -> None:
        self._done(self.call("DELETE", path))

    def call(self, method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        """One request, as an HTTP client writes it.

        Raises:
            Refused: with the status and the API's words.
        """
        self.sent.append((method, path))
        url = f"{self.root.rstrip('/')}/{path}" + (f"?{urlencode(query)}" if query else "")
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise Refused(error.code, f"{method} {path}: {error.read().decode()}") from error

    def _done(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The response of an operation; what is none is its own."""
        deadline = time.monotonic() + self.timeout
        while "/operations/" in str(answer.get("name", "")):
            if answer.get("done"):
                if "error" in answer:
                    raise Refused(409, str(answer["error"]))
                return answer.get("response", {})
            assert time.monotonic() < deadline, f"{answer['name']} is not done"
            time.sleep(0.05)
            answer = self.call("GET", f"v1/{answer['name']}")
        return answer


def differing(kind: Kind, inputs: Mapping[str, Any], live: Mapping[str, Any], ignored: list[str] = ()) -> list[str]:
    """Fields in which what the API has is not what the program says; what the API fills in by itself is no difference.

    Args:
        kind: of the resource.
        inputs: the program's.
        live: what the API has.
        ignored: properties that the program ignores changes of.
    """
    body = kind.body(inputs)
    wrong = [name for name, value in body.items() if not _within(value, live.get(name))]
    wrong += [name for name in kind.drift if name not in body and live.get(name)]
    return [name for name in wrong if name not in ignored]


def _within(wanted: Any, live: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(live, dict | None) and all(
            _within(value, (live or {}).get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return len(wanted) == len(live or []) and all(map(_within, wanted, live or []))
    # proto's JSON leaves out what is false or empty, and writes int64 as text.
    return wanted == live or (not wanted and live is None) or str(wanted) == str(live)
