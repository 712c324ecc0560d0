"""Deploy models to Vertex AI from one ``deploy.yaml``, and rehearse it against a local Vertex AI.

The command line (``vertex-deploy``) is the public surface; ``vertex_deploy.spec.load`` is the one function that the
Pulumi program and the pipelines import.
"""

__version__ = "0.1.0"
