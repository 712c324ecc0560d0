"""How soon and how surely bad canaries are found, ours against named peers: ``python -m bench.judge``."""
