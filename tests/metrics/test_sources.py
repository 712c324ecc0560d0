from __future__ import annotations

from typing import Any

from tests.rollout.world import spec_with
from vertex_deploy.metrics.cloud_gauges import CloudGauge
from vertex_deploy.metrics.cloud_monitoring import CloudMonitoringSource, SeriesReader
from vertex_deploy.metrics.gauges import JoinedSource
from vertex_deploy.metrics.prometheus import PrometheusGauge
from vertex_deploy.metrics.sources import gauges_of, lag_of, source_for
from vertex_deploy.spec.models import Monitoring, Spec

ENDPOINT = "projects/p/locations/l/endpoints/7"
RATING = {"metric": "rating", "min": 3, "range": [1, 5], "query": {"cloud_monitoring": 'metric.type="m"'}}
COST = {"metric": "cost", "max": 3, "range": [0, 5], "query": {"prometheus": 'cost{v="{deployed_model_id}"}'}}


def spec(*gates: dict[str, Any], url: str | None = None) -> Spec:
    monitoring = Monitoring.model_validate({"prometheus": {"url": url}} if url else {})
    return spec_with(gates=list(gates)).model_copy(update={"monitoring": monitoring})


def test_without_custom_metrics_the_endpoints_own_are_all_that_is_read() -> None:
    assert isinstance(source_for(spec({"metric": "error_rate", "max": "1%"}))(ENDPOINT), CloudMonitoringSource)


def test_custom_metrics_are_joined_whatever_they_come_from() -> None:
    found = spec(RATING, COST, {**RATING, "min": None, "max": 5}, url="http://127.0.0.1:9090")
    assert isinstance(source_for(found)(ENDPOINT), JoinedSource)
    rating, cost = gauges_of(found, SeriesReader("p"))
    assert isinstance(rating, CloudGauge)
    assert isinstance(cost, PrometheusGauge)
    assert (rating.name, cost.name) == ("rating", "cost")


def test_no_source_is_waited_for_longer_than_the_endpoints_own_metrics() -> None:
    found = spec(RATING, COST, url="http://127.0.0.1:9090")
    assert source_for(found)(ENDPOINT).lag == lag_of(found) == 180.0
