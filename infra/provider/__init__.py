"""``vertexdeploy``: a Pulumi provider for the parts of Vertex AI that pulumi-gcp has no resource for.

Three resources: ``Model`` (upload, versions, aliases), ``DeployedModel`` and ``TrafficSplit``. The engine starts
``__main__`` as a plugin and speaks its ResourceProvider protocol with it over gRPC; nothing is pickled into the state.

Who calls whom, one way: ``server`` (the protocol) -> ``drivers`` (Vertex AI's API) -> ``resources`` (tables of
properties, checks and plans, pure) -> ``properties``, ``values`` (pure). ``sdk`` is what a program imports.

Left out: endpoints, deployment resource pools and everything else that pulumi-gcp has; listing of resources
(``List``), functions and component resources.
"""

VERSION = "0.1.0"
"""The provider's own version, as the engine is told; the distribution's, which the plugin is no part of."""

PACKAGE = "vertexdeploy"
"""The package's name: types are ``vertexdeploy:index:Model``."""
