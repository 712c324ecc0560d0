import pytest

from vertex_deploy.local.wire.routes import Routes

TEMPLATES = [
    ("GET", "/v1/{name=projects/*/locations/*/models/*}"),
    ("GET", "/v1/{parent=projects/*/locations/*}/models"),
    ("POST", "/v1/{parent=projects/*/locations/*}/models:upload"),
    ("PATCH", "/v1/{endpoint.name=projects/*/locations/*/endpoints/*}"),
    ("GET", "/v3/{name=projects/*/metricDescriptors/**}"),
    ("GET", "/v3/{name=projects/*}/metricDescriptors"),
]


@pytest.fixture
def routes():
    found = Routes()
    for method, template in TEMPLATES:
        found.add(method, template, template)
    return found


@pytest.mark.parametrize(
    ("method", "path", "number", "bound"),
    [
        ("GET", "/v1/projects/p/locations/l/models/7", 0, {"name": "projects/p/locations/l/models/7"}),
        ("GET", "/v1/projects/p/locations/l/models/7%402", 0, {"name": "projects/p/locations/l/models/7@2"}),
        ("GET", "/v1/projects/p/locations/l/models/a%2Fb", 0, {"name": "projects/p/locations/l/models/a/b"}),
        ("GET", "/v1/projects/p/locations/l/models", 1, {"parent": "projects/p/locations/l"}),
        ("POST", "/v1/projects/p/locations/l/models:upload", 2, {"parent": "projects/p/locations/l"}),
        ("PATCH", "/v1/projects/p/locations/l/endpoints/1", 3, {"endpoint.name": "projects/p/locations/l/endpoints/1"}),
        ("GET", "/v3/projects/p/metricDescriptors/a.b/c/d", 4, {"name": "projects/p/metricDescriptors/a.b/c/d"}),
        ("GET", "/v3/projects/p/metricDescriptors", 5, {"name": "projects/p"}),
    ],
)
def test_paths_lead_to_their_template_with_decoded_fields(routes, method, path, number, bound):
    assert routes.match(method, path) == (TEMPLATES[number][1], bound)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/projects/p/locations/l/models/7"),
        ("GET", "/v1/projects/p/locations/l/models/7/x"),
        ("POST", "/v1/projects/p/locations/l/models:copy"),
        ("GET", "/v2/projects/p/locations/l/models/7"),
        ("GET", "/v1/projects//locations/l/models/7"),
        ("GET", ""),
    ],
)
def test_other_paths_lead_nowhere(routes, method, path):
    assert routes.match(method, path) is None
