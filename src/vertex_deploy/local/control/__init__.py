"""The control plane: what exists. Models and their versions, endpoints, deployments, operations.

Decisions are pure (``names``, ``splits``, ``masks``, ``listing``, ``checks``); services (``models``, ``endpoints``,
``deployments``, ``pools``, ``operations``) read, decide and write. Semantics are those of Google's reference for
aiplatform v1.

Left out: IAM, quotas, encryption keys, explanations, monitoring jobs, export and copy of models. What a request asks
for and is left out is refused by name, never ignored.
"""
