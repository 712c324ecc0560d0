"""Does a serving container keep Vertex AI's contract? Checks against a running one, before it is uploaded.

`run(server, routes, sample)` asks a server what Vertex AI would ask it, and what clients send it by mistake. Its
`Report` is data, one `Finding` a check. Rules are `must` (Vertex AI does not serve a container that breaks them) or
`should` (it serves, badly: a 500 for a client's mistake counts as the model's error and rolls a canary back).

Source of the rules: "Custom container requirements for inference" in Vertex AI's documentation, and the limits of
its endpoint types. Left out: starting the container, load, and whether predictions are right.
"""

from vertex_deploy.contract.checks import CHECKS, Check
from vertex_deploy.contract.client import HttpServer, Reply, Server
from vertex_deploy.contract.report import Finding, Level, Outcome, Report
from vertex_deploy.contract.run import run
from vertex_deploy.contract.sample import Routes, Sample

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "HttpServer",
    "Level",
    "Outcome",
    "Reply",
    "Report",
    "Routes",
    "Sample",
    "Server",
    "run",
]
