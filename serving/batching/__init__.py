"""Dynamic batching: ``policy`` decides, without I/O or a clock of its own; ``batcher`` drives an engine with it."""
