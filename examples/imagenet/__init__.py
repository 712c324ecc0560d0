"""The demo: two rollouts of a real ImageNet model on this machine, one promoted and one rolled back.

``python -m examples.imagenet`` (``make demo``) drives the same commands that a user types; nothing in here decides
anything about a rollout. Deliberately left out: a cloud project, a container engine, a GPU.
"""
