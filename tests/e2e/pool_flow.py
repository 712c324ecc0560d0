"""What a team does with a DeploymentResourcePool and the Vertex AI SDK; prints what it saw as JSON.

Run in a process of its own, as ``sdk_flow``. Arguments: rest|grpc, the endpoint's address, a prebuilt image that can
share a pool, and a custom one that cannot.
"""

import json
import sys

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform


def main(transport: str, address: str, shared: str, custom: str) -> dict[str, object]:
    where = {"api_endpoint": address, **({"api_transport": "rest"} if transport == "rest" else {})}
    aiplatform.init(project="my-project", location="us-central1", credentials=AnonymousCredentials(), **where)
    seen: dict[str, object] = {}

    def upload(who: str, image: str) -> aiplatform.Model:
        return aiplatform.Model.upload(
            display_name=who,
            serving_container_image_uri=image,
            serving_container_predict_route="/predict",
            serving_container_health_route="/health",
            serving_container_environment_variables={"WHO": who},
        )

    pool = aiplatform.DeploymentResourcePool.create(
        f"pool-{transport}", machine_type="n1-standard-4", min_replica_count=1, max_replica_count=2
    )
    seen["listed"] = [item.name for item in aiplatform.DeploymentResourcePool.list()]
    one, two = upload("one", shared), upload("two", shared)
    first = aiplatform.Endpoint.create(display_name="first")
    second = aiplatform.Endpoint.create(display_name="second")
    first.deploy(one, deployment_resource_pool=pool, traffic_percentage=100)
    first.deploy(two, deployment_resource_pool=pool, traffic_percentage=50)
    second.deploy(two, deployment_resource_pool=pool, traffic_percentage=100)
    pages = pool.query_deployed_models()
    seen["on_pool"] = sum(len(page) for page in pages)
    seen["answers"] = sorted({first.predict(instances=[1]).predictions[0]["who"] for _ in range(40)})
    seen["other"] = second.predict(instances=[1]).predictions[0]["who"]
    try:
        first.deploy(upload("custom", custom), deployment_resource_pool=pool)
    except ValueError as error:
        seen["custom"] = str(error)
    try:
        pool.delete()
    except exceptions.GoogleAPICallError as error:
        seen["in_use"] = error.message
    client = aiplatform.DeploymentResourcePool._instantiate_client()
    wanted = {"name": pool.resource_name, "dedicated_resources": {"min_replica_count": 2}}
    mask = {"paths": ["dedicated_resources.min_replica_count"]}
    changed = client.update_deployment_resource_pool(deployment_resource_pool=wanted, update_mask=mask).result()
    seen["replicas"] = changed.dedicated_resources.min_replica_count
    for endpoint in (first, second):
        endpoint.undeploy_all()
        endpoint.delete()
    pool.delete()
    seen["left"] = [item.name for item in aiplatform.DeploymentResourcePool.list()]
    return seen


sys.stdout.write("\n" + json.dumps(main(*sys.argv[1:])))
