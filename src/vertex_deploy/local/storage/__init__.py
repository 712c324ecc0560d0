"""Cloud Storage of Local Vertex: buckets and objects over the JSON API, durable in one folder.

Pure: ``names``, ``preconditions``, ``resources`` (JSON of buckets and objects, partial responses), ``ranges``,
``multipart``. Drivers: ``store`` (sqlite and content files), ``uploads`` (resumable sessions), ``buckets``, ``objects``
and ``media`` (HTTP handlers), ``routes`` (the table of all of them), ``blobs`` (``seams.Blobs``).

An implementation of our own because rollouts depend on what emulators get wrong: preconditions that hold under
concurrency, strong listing, and nothing lost when the process is killed.

Deliberately left out: object versioning, soft delete, lifecycle, retention and holds, ACLs and IAM, encryption keys,
notifications, HMAC, the XML and gRPC APIs, batch requests, decompressive transcoding. A request that needs one of them
is refused with 501 and its name. Only a bucket's own settings of versioning, soft delete and lifecycle are kept and
told back, so that Pulumi makes here the buckets that it makes in the cloud: nothing acts on them, and listing the old
versions of a bucket that should have them is refused.
"""

from vertex_deploy.local.storage.blobs import StoredBlobs
from vertex_deploy.local.storage.routes import StorageApi
from vertex_deploy.local.storage.store import ObjectStore

__all__ = ["ObjectStore", "StorageApi", "StoredBlobs"]
