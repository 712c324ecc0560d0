"""The HTTP application: FastAPI for health, metrics and the description of the model; the predict route before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from serving.config import Config
    from serving.metrics import Metrics
    from serving.predict import Predict, Receive, Scope, Send
    from serving.state import Life


class Application:
    """The ASGI application that uvicorn runs.

    Args:
        config: has the routes.
        life: what the health check answers from.
        metrics: what ``/metrics`` answers.
        predict: the predict route.
    """

    def __init__(self, config: Config, life: Life, metrics: Metrics, predict: Predict) -> None:
        self._predict, self._predict_route = predict, config.predict_route
        self._rest = _shell(config, life, metrics, predict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST to the predict route goes straight there; the rest to FastAPI."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == self._predict_route:
            await self._predict(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def _shell(config: Config, life: Life, metrics: Metrics, predict: Predict) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def health() -> Response:
        return _json({"status": life.state.value}, 200 if life.healthy else 503)

    async def about() -> Response:
        return _json(_description(config, life, predict))

    async def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def not_allowed() -> Response:
        return _json({"error": "the predict route takes POST"}, 405, {"allow": "POST"})

    app.add_api_route(config.health_route, health, methods=["GET", "HEAD"])
    # The contract allows one path for both; then GET is the health check.
    if config.predict_route != config.health_route:
        app.add_api_route(config.predict_route, not_allowed, methods=["GET", "HEAD", "PUT", "PATCH", "DELETE"])
    for path, endpoint in (("/", about), ("/metrics", prometheus)):
        if path not in {config.health_route, config.predict_route}:
            app.add_api_route(path, endpoint, methods=["GET", "HEAD"])

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        routes = f"health {config.health_route}, predict {config.predict_route}, /metrics, /"
        text = f"nothing at {request.url.path[:100]!r}; routes: {routes}" if error.status_code == 404 else error.detail  # noqa: PLR2004 - not found
        return _json({"error": text}, error.status_code, dict(error.headers or {}))

    return app


def _description(config: Config, life: Life, predict: Predict) -> dict[str, Any]:
    described: dict[str, Any] = {
        "state": life.state.value,
        "routes": {"health": config.health_route, "predict": config.predict_route},
    }
    identity = (
        "project_number",
        "endpoint_id",
        "deployed_model_id",
        "machine_type",
        "accelerator_type",
        "framework",
        "mode_version",
        "model_name",
        "version_name",
    )
    described["deployment"] = {name: getattr(config, name) for name in identity if getattr(config, name)}
    if predict.model is not None:
        manifest = predict.model.manifest
        described["model"] = {
            "name": manifest.name,
            "version": manifest.version,
            "engine": manifest.engine,
            "input": manifest.input.model_dump(),
            "classes": manifest.classes,
            "max_batch": config.max_batch or manifest.max_batch,
        }
    return described


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type="application/json")
