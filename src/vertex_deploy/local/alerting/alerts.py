"""projects.alerts: incidents as the REST API of Cloud Monitoring shows them, ``GET /v3/projects/P/alerts[/ID]``.

google-cloud-monitoring 2.32 has no client and no messages for it, so that it is not served over gRPC. Paths and query
parameters are read from Google's discovery document; ``incidents`` makes the answers.

Left out: what Google's document does not have (acknowledging, closing by hand).
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vertex_deploy.local.alerting import listing
from vertex_deploy.local.alerting.book import missing
from vertex_deploy.local.monitoring import errors
from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire import jsonpb
from vertex_deploy.local.wire.errors import invalid
from vertex_deploy.local.wire.rest import error_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from vertex_deploy.local.alerting.book import Book

FIELDS = frozenset(
    {
        "name", "state", "open_time", "close_time", "policy.name", "policy.display_name", "policy.severity",
        "policy.user_labels.*", "resource.type", "resource.labels.*", "metric.type", "metric.labels.*",
    }
)  # fmt: skip
"""What lists can be filtered by."""
_ORDERS = frozenset({"open_time", "close_time"})
_DEFAULT_PAGE, _MAX_PAGE = 50, 1000


@cache
def methods() -> Mapping[str, Any]:
    """The methods of projects.alerts in Google's discovery document, by verb."""
    documents = resources.files("googleapiclient.discovery_cache") / "documents"
    document = json.loads((documents / "monitoring.v3.json").read_text())
    found: Mapping[str, Any] = document["resources"]["projects"]["resources"]["alerts"]["methods"]
    return found


def alert_routes(book: Book) -> list[web.RouteDef]:
    """The routes, to be added before the wire's.

    Args:
        book: holds the incidents.
    """

    def listed(path: Mapping[str, str], query: Mapping[str, str]) -> dict[str, Any]:
        parent = book.parent(f"projects/{path['projectsId']}", "parent")
        matches = listing.matcher(query.get("filter", ""), FIELDS)
        incidents = book.incidents(parent.removeprefix("projects/"))
        found = [alert for alert in (incident.alert() for incident in incidents) if matches(alert)]
        found = listing.order(found, query.get("orderBy", ""), _ORDERS, lambda alert: alert)
        size = _size(query.get("pageSize", ""))
        page, token = listing.page(found, size, query.get("pageToken", ""), default=_DEFAULT_PAGE, most=_MAX_PAGE)
        out: dict[str, Any] = {"alerts": list(page), "totalSize": len(found), "nextPageToken": token}
        return {key: value for key, value in out.items() if value}

    def got(path: Mapping[str, str], _query: Mapping[str, str]) -> dict[str, Any]:
        name = book.resource(f"projects/{path['projectsId']}/alerts/{path['alertsId']}", "alerts")
        incident = book.incident(name)
        if incident is None:
            raise missing("alert", name)
        return incident.alert()

    return [_route(methods()[verb], answer) for verb, answer in (("list", listed), ("get", got))]


def _size(text: str) -> int:
    try:
        return int(text or 0)
    except ValueError:
        raise errors.field("pageSize", text, "The value must be a number.") from None


def _route(
    method: Mapping[str, Any], answer: Callable[[Mapping[str, str], Mapping[str, str]], dict[str, Any]]
) -> web.RouteDef:
    known = {name for name, spec in method["parameters"].items() if spec["location"] == "query"}

    async def handle(request: web.Request) -> web.Response:
        style = jsonpb.Style()
        try:
            given = list(request.rel_url.query.items())
            style = jsonpb.style_of(given)
            query = _fields(given, known)
            body = jsonpb.dumps(answer(request.match_info, query), style)
        except ApiError as error:
            return error_response(error, style)
        return web.Response(body=body, headers={"Content-Type": "application/json; charset=UTF-8"})

    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = handle
    return web.route(method["httpMethod"], f"/{method['flatPath']}", handler)


def _fields(query: list[tuple[str, str]], known: set[str]) -> dict[str, str]:
    """Query parameters by their names in the document; snake_case is taken too, as everywhere in Google's APIs.

    Raises:
        ApiError: INVALID_ARGUMENT for one that the method does not have.
    """
    out: dict[str, str] = {}
    for key, value in query:
        name = jsonpb.camel(key)
        if key in jsonpb.SYSTEM_PARAMETERS:
            continue
        if name not in known:
            raise invalid(f'Invalid JSON payload received. Unknown name "{key}": Cannot bind query parameter.')
        out[name] = value
    return out
