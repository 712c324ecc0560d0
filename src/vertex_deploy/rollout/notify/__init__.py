"""Telling people and programs what a rollout does: webhooks (signed), Slack and Pub/Sub.

``message`` says what is told and to whom (pure), ``channels`` how each is called, ``notifier`` is the
queue between a rollout and them: a channel that is slow or broken never holds a rollout up.
"""

from vertex_deploy.rollout.notify.notifier import Notifier, notifier_for

__all__ = ["Notifier", "notifier_for"]
