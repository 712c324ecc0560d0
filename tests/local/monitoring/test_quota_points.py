"""Quotas that Local Vertex publishes are what a rollout's quota source reads: the two share nothing but the API."""

from dataclasses import dataclass, field

import pytest

from vertex_deploy.local.monitoring import MetricService, QuotaPoints, SeriesStore
from vertex_deploy.metrics.quota import QuotaLevel, QuotaSource
from vertex_deploy.spec import quotas

from .clock import FakeClock
from .test_read_by_rollout import DirectClient

L4, CPUS = "custom_model_serving_nvidia_l4_gpus", "custom_model_serving_cpus"


@dataclass
class Book:
    limits: dict[str, int] = field(default_factory=lambda: {L4: 2})
    use: dict[str, int] = field(default_factory=dict)
    places: set[tuple[str, str]] = field(default_factory=set)

    def used(self, parent):
        assert parent == "projects/number-of-p/locations/us-central1"
        return {metric: self.use.get(metric, 0) for metric in self.limits}

    def parents(self):
        return self.places


class Bench:
    def __init__(self, book, clock=None, store=None):
        self.clock, self.store, self.book = clock or FakeClock(), store or SeriesStore(), book
        self.points = QuotaPoints(
            self.store, self.clock, book, region="us-central1", project_number=lambda project: f"number-of-{project}"
        )
        self.service = MetricService(self.store, self.clock, asked=self.points.asked)

    def levels(self, region="us-central1"):
        wanted = [quota for metric in (L4, CPUS) if (quota := quotas.by_metric(metric))]
        return QuotaSource("p", region, client=DirectClient(self.service)).levels(wanted, self.clock.now())


@pytest.fixture
def bench():
    return Bench(Book())


def test_a_project_that_was_never_heard_of_has_its_limits_and_uses_nothing(bench):
    assert bench.levels() == {L4: QuotaLevel(limit=2, used=0), CPUS: QuotaLevel(limit=None, used=0)}


def test_what_is_used_follows_with_the_next_sample_period(bench):
    bench.book.places, bench.book.use = {("p", "us-central1")}, {L4: 1}
    bench.levels()
    for used in (2, 0):
        bench.book.use[L4] = used
        bench.clock.time += 60
        bench.points.write()
        assert bench.levels()[L4] == QuotaLevel(limit=2, used=used)


def test_limits_outlive_the_day_that_readers_look_back_while_a_region_is_in_use(bench):
    bench.book.places = {("p", "us-central1")}
    bench.clock.time += 30 * 3600
    bench.points.write()
    assert bench.levels()[L4] == QuotaLevel(limit=2, used=0)


def test_a_region_that_nobody_uses_has_no_limits_yet(bench):
    assert bench.levels("europe-west4")[L4].limit is None


def test_a_limit_of_an_earlier_run_is_taken_back(bench):
    assert bench.levels()[L4].limit == 2
    bench.clock.time += 60
    again = Bench(Book(limits={CPUS: 8}), bench.clock, bench.store)
    assert again.levels() == {L4: QuotaLevel(limit=None, used=0), CPUS: QuotaLevel(limit=8, used=0)}


def test_without_limits_there_is_no_series():
    bench = Bench(Book(limits={}, places={("p", "us-central1")}))
    bench.points.write()
    assert bench.levels()[L4] == QuotaLevel()
    assert bench.store.keys("p", "serviceruntime.googleapis.com/quota/limit") == []
