"""``python -m serving``: run the server with what the environment says (``serving.config``)."""

import os
import sys

from serving.server import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that still fetches or loads would keep the process: it is asked to stop, so it stops.
    os._exit(code)
