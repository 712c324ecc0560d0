"""What runs the model. ``base`` has the Protocol; ``process`` runs an engine in a process of its own.

The server's process never imports torch: the stock binding of an AOTInductor package holds the GIL for a whole batch
(pytorch#197516), which would stop the event loop, and a process that dies of SIGILL or runs out of memory must not take
the reason with it. Batches cross in shared memory, so the price is one copy.
"""
