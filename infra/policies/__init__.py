"""The policy pack: pure rules in ``rules``, the pack in ``__main__``, machines as data in ``machines.json``."""
