"""The e2e tests' serving container, which takes SLEEP seconds to start."""

import os
import runpy
import time
from pathlib import Path

time.sleep(float(os.environ.get("SLEEP", "0")))
runpy.run_path(str(Path(__file__).parents[2] / "e2e" / "model_server.py"), run_name="__main__")
