"""Local Vertex: a Vertex AI on one machine that Google's own clients use unchanged.

One process, two listeners on loopback (REST and gRPC). Routes and messages are read from the installed Google clients
and discovery documents; none is written by hand. What it does not implement it refuses as the real API would.

Folders: ``wire`` (sockets to messages), ``control`` (models, endpoints, operations), ``data`` (replicas, traffic,
predictions), ``monitoring`` (Cloud Monitoring), ``storage`` (Cloud Storage). They meet only in ``seams``.

Deliberately left out: training, AutoML, feature store, IAM checks, autoscaling (the minimum of replicas runs).
"""
