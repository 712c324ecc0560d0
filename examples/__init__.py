"""Examples: each a folder with a deploy.yaml or a reference to the root's, and what it needs; run in CI."""
