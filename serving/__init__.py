"""The model server of the images: image classifiers behind Vertex AI's custom container contract.

Run it as ``python -m serving``; build an artifact for it with ``python -m serving.build``. It imports nothing of
``vertex_deploy``. ``docs/guides/serving.md`` is the guide.

Left out: anything but classification, several models in one process, GPUs, and the gRPC surface of the contract.
"""
