"""Benchmarks against named peers: each a package with one command, results as JSON and a table."""
