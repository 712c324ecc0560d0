"""Specs that the tests of this folder start from."""

from __future__ import annotations

from vertex_deploy.spec.loader import Examined, examine_text

GOOD = """\
# yaml-language-server: $schema=./deploy.schema.json
name: lite0
gcp: {project: my-project, region: us-central1}
model: {artifact: gs://my-project-models/lite0/2, labels: {team: vision}}
container:
  image: torch-aoti
  env: {WORKERS: "2"}
target:
  type: vertex
  endpoint: {access: psc, allow_projects: [consumer-project]}
  machine: {type: g2-standard-8, accelerator: L4:1, spot: true}
  replicas: {min: 2, max: 10, scale_on: {gpu_duty_cycle: 60}}
rollout:
  steps: [{weight: 10, hold: 30m}, {weight: 50, hold: 30m}, {weight: 100}]
  gates:
    - {metric: error_rate, max: 0.5%, min_requests: 200}
    - {metric: latency_p95, max: 500ms, worse_than_stable: 10%}
  on_failure: rollback
  keep_stable: 24h
environments:
  local:
    rollout:
      steps: [{weight: 10, hold: 15s}, {weight: 50, hold: 15s}, {weight: 100}]
      keep_stable: 10s
"""


def swap(*pairs: tuple[str, str], text: str = GOOD) -> str:
    """The good spec with some text exchanged; what is not there is a mistake of the test."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def examined(text: str | bytes, env: str | None = None) -> Examined:
    return examine_text(text if isinstance(text, bytes) else text.encode(), "deploy.yaml", env)


def problems(text: str | bytes, env: str | None = None) -> list[str]:
    """What is wrong with a spec, as it is printed."""
    return [str(problem) for problem in examined(text, env).problems]
