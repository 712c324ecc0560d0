"""The plugin: ``python <this folder> <engine address>``, as Pulumi's engine starts it; prints the port it is on."""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    # Started by path, Python looks here first, where `schema` or `values` would hide others' modules of these names.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    sys.path.insert(0, str(here.parents[1]))

    from infra.provider.server import serve

    serve(sys.argv[1:])
