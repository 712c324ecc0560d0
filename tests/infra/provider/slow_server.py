"""The e2e tests' serving container, which says by a file that it starts (BEGUN) and waits for another (GO)."""

import os
import runpy
import time
from pathlib import Path

if "GO" in os.environ:
    Path(os.environ["BEGUN"]).touch()
    while not Path(os.environ["GO"]).exists():
        time.sleep(0.02)
runpy.run_path(str(Path(__file__).parents[2] / "e2e" / "model_server.py"), run_name="__main__")
