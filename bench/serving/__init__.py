"""The model server under closed-loop load: ``python -m bench.serving``."""
