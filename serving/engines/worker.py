"""The engine's process: ``python -m serving.engines.worker CONNECTION_FD MEMORY_FD``, started by ``ProcessEngine``.

It answers messages on the connection until that closes. Messages are JSON (``Connection.send_bytes``: no pickle);
batches and logits lie in the shared memory.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact.manifest import parse
from serving.errors import BatchFailed, ServingError


def serve(connection: Connection, memory_fd: int) -> None:
    """Load the engine that the first message asks for, then run batches until the connection closes."""
    # Imported here so that the parent learns of a broken torch by message, not by a traceback.
    import torch  # noqa: PLC0415
    from safetensors.numpy import load_file  # noqa: PLC0415

    from serving.engines import torch_engines  # noqa: PLC0415
    from serving.engines.verify import verify  # noqa: PLC0415

    request = json.loads(connection.recv_bytes())
    started = time.monotonic()
    torch.set_num_threads(request["threads"])
    manifest = parse(request["manifest"].encode(), "manifest")
    folder, max_batch = Path(request["folder"]), request["max_batch"]
    shape = torch_engines.shape_of(manifest, max_batch)
    engine = torch_engines.create(manifest, folder, max_batch=max_batch, work_dir=request["work_dir"])
    try:
        engine.load()
        verify(engine, load_file(folder / manifest.check)["logits"], shape.instance, max_batch=max_batch)
        gc.collect()
        gc.freeze()
        _send(connection, {"ready": True, "seconds": time.monotonic() - started})
        memory = mmap.mmap(memory_fd, 0)
        floats = max_batch * int(np.prod(shape.instance))
        inputs = np.frombuffer(memory, np.float32, floats).reshape(max_batch, *shape.instance)
        outputs = np.frombuffer(memory, np.float32, offset=4 * floats).reshape(max_batch, shape.classes)
        while True:
            n = json.loads(connection.recv_bytes())["run"]
            started = time.monotonic()
            try:
                outputs[:n] = engine.run(inputs[:n])
            except BatchFailed as error:
                _send(connection, {"failed": str(error)})
            else:
                stages = dict(engine.stage_seconds)
                _send(connection, {"seconds": time.monotonic() - started, "stages": stages})
    finally:
        engine.close()


def _send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def main() -> int:
    """Serve; an error goes to the parent as a message."""
    # The parent decides when to end: signals sent to the whole group are its business.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        serve(connection, int(sys.argv[2]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0  # the parent has closed the connection, or is gone
    except Exception as error:  # noqa: BLE001 - the parent must learn of anything
        text = str(error) if isinstance(error, ServingError) else f"{type(error).__name__}: {error}"
        _send(connection, {"error": " ".join(text.split())})
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # torch's own exit handlers take a second and do nothing that is needed
