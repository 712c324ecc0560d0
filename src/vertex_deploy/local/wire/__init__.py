"""Sockets to messages and back: how a service object is served over gRPC and REST under Google's own names.

A service object has one ``async def snake_case_rpc(self, request, context)`` for each RPC it implements (an async
generator where the RPC streams its response), takes and returns the messages of Google's client and raises
``seams.ApiError``. ``Wire.add`` finds everything else in the installed clients: method names, message types and HTTP
rules. An RPC without a method answers UNIMPLEMENTED. A v1 object also serves v1beta1.

Left out: client-streaming and bidirectional RPCs, gRPC reflection, compression, authentication (any is accepted).
"""

from vertex_deploy.local.wire.dispatch import Context, Wire

__all__ = ["Context", "Wire"]
