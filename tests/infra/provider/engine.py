"""What Pulumi's engine does with a plugin: start it, read its port, call it, follow the steps of an update.

The order of calls is the engine's: Handshake, CheckConfig, Configure once; Check, Diff and then Create, Update or a
replacement for each resource. State is kept as the engine keeps it, inputs beside outputs.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from grpc_status import rpc_status
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto import provider_pb2_grpc

from infra.provider.values import SECRET, SIGNATURE, UNKNOWN, decode, encode

PLUGIN = Path(__file__).parents[3] / "infra" / "provider"
TIMEOUT = 180


def secret(value: Any) -> dict[str, Any]:
    """A value as a program's pulumi.Output.secret reaches the provider."""
    return {SIGNATURE: SECRET, "value": value}


class CheckFailed(Exception):  # noqa: N818 - named for what happened
    """Inputs were refused; holds {property: reason}."""

    def __init__(self, failures: dict[str, str]) -> None:
        super().__init__(str(failures))
        self.failures = failures


class InitFailed(Exception):  # noqa: N818 - see CheckFailed
    """A create or update was not finished; the engine has kept the state."""


@dataclass
class Resource:
    """A resource in the engine's state."""

    urn: str
    ident: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    init_errors: list[str] = field(default_factory=list)
    secrets: frozenset = frozenset()


class Engine:
    """One engine with one plugin.

    Args:
        environment: variables of the plugin.
        config: the provider's configuration.
    """

    def __init__(self, environment: dict[str, str], **config: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PLUGIN, "127.0.0.1:1"], stdout=subprocess.PIPE, env=environment, cwd="/"
        )
        port = int(self.process.stdout.readline())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = provider_pb2_grpc.ResourceProviderStub(self.channel)
        self.state: dict[str, Resource] = {}
        self.stub.Handshake(proto.ProviderHandshakeRequest(engine_address="127.0.0.1:1"), timeout=TIMEOUT)
        checked = self.stub.CheckConfig(
            proto.CheckRequest(urn="urn:pulumi:dev::p::pulumi:providers:vertexdeploy::default", news=encode(config)),
            timeout=TIMEOUT,
        )
        assert not checked.failures, checked.failures
        self.stub.Configure(
            proto.ConfigureRequest(args=checked.inputs, acceptSecrets=True, acceptResources=True), timeout=TIMEOUT
        )

    def close(self) -> None:
        self.channel.close()
        self.process.terminate()
        self.process.wait(TIMEOUT)
        self.process.stdout.close()

    # --- single calls -----------------------------------------------------------------------------------------------

    def check(self, kind: str, name: str, inputs: dict[str, Any]) -> Any:
        """Checked inputs as a Struct.

        Raises:
            CheckFailed: they were refused.
        """
        old = self.state.get(name)
        answer = self.stub.Check(
            proto.CheckRequest(
                urn=urn(kind, name),
                name=name,
                type=f"vertexdeploy:index:{kind}",
                olds=encode(old.inputs) if old else None,
                news=encode(inputs),
                randomSeed=b"0" * 32,
            ),
            timeout=TIMEOUT,
        )
        if answer.failures:
            raise CheckFailed({failure.property: failure.reason for failure in answer.failures})
        return answer.inputs

    def diff(self, kind: str, name: str, checked: Any, ignore: tuple[str, ...] = ()) -> Any:
        old = self.state[name]
        return self.stub.Diff(
            proto.DiffRequest(
                id=old.ident,
                urn=old.urn,
                name=name,
                type=f"vertexdeploy:index:{kind}",
                olds=encode(old.outputs),
                old_inputs=encode(old.inputs),
                news=checked,
                ignoreChanges=ignore,
            ),
            timeout=TIMEOUT,
        )

    def read(self, kind: str, ident: str, name: str = "imported") -> Any:
        return self.stub.Read(
            proto.ReadRequest(id=ident, urn=urn(kind, name), name=name, type=f"vertexdeploy:index:{kind}"),
            timeout=TIMEOUT,
        )

    # --- what commands do -------------------------------------------------------------------------------------------

    def preview(self, kind: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The step (same, create, update, replace) and the outputs that the preview shows."""
        checked = self.check(kind, name, inputs)
        token = f"vertexdeploy:index:{kind}"
        found = self.diff(kind, name, checked) if name in self.state else None
        if found is None or found.replaces:
            answer = self.stub.Create(
                proto.CreateRequest(urn=urn(kind, name), name=name, type=token, properties=checked, preview=True),
                timeout=TIMEOUT,
            )
            return ("replace" if found else "create"), decode(answer.properties)[0]
        old = self.state[name]
        if found.changes == proto.DiffResponse.DIFF_NONE and not old.init_errors:
            return "same", old.outputs
        answer = self.stub.Update(self._update(kind, name, checked, preview=True), timeout=TIMEOUT)
        return "update", decode(answer.properties)[0]

    def up(self, kind: str, name: str, inputs: dict[str, Any], *, timeout: float = 0) -> str:
        """Bring one resource to its inputs; the step that was taken.

        Raises:
            InitFailed: it exists, but is not finished; the state has it.
            grpc.RpcError: it failed.
        """
        checked = self.check(kind, name, inputs)
        if name not in self.state:
            self._create(kind, name, checked, timeout)
            return "create"
        found = self.diff(kind, name, checked)
        old = self.state[name]
        if found.replaces:
            if found.deleteBeforeReplace:
                self.delete(kind, name)
            self._create(kind, name, checked, timeout)
            if not found.deleteBeforeReplace:
                self._delete(kind, name, old)
            return "replace"
        if found.changes == proto.DiffResponse.DIFF_NONE and not old.init_errors:
            old.inputs = decode(checked)[0]
            return "same"
        request = self._update(kind, name, checked)
        answer = self._kept(kind, name, checked, lambda: self.stub.Update(request, timeout=TIMEOUT))
        self._keep(kind, name, old.ident, checked, answer.properties)
        return "update"

    def refresh(self, kind: str, name: str) -> bool:
        """Read a resource back into the state; False: it is gone, and gone from the state."""
        old = self.state[name]
        answer = self.stub.Read(
            proto.ReadRequest(
                id=old.ident,
                urn=old.urn,
                name=name,
                type=f"vertexdeploy:index:{kind}",
                properties=encode(old.outputs, old.secrets),
                inputs=encode(old.inputs, old.secrets),
            ),
            timeout=TIMEOUT,
        )
        if not answer.id:
            del self.state[name]
            return False
        self._keep(kind, name, answer.id, answer.inputs, answer.properties)
        return True

    def import_(self, kind: str, name: str, ident: str) -> dict[str, Any]:
        """Adopt what exists; the inputs that `pulumi import` writes into the program."""
        answer = self.read(kind, ident, name)
        assert answer.id, f"{ident} is not there"
        self._keep(kind, name, answer.id, answer.inputs, answer.properties)
        return self.state[name].inputs

    def delete(self, kind: str, name: str) -> None:
        self._delete(kind, name, self.state[name])
        del self.state[name]

    # --- plumbing ---------------------------------------------------------------------------------------------------

    def _create(self, kind: str, name: str, checked: Any, timeout: float) -> None:
        request = proto.CreateRequest(
            urn=urn(kind, name), name=name, type=f"vertexdeploy:index:{kind}", properties=checked, timeout=timeout
        )
        answer = self._kept(kind, name, checked, lambda: self.stub.Create(request, timeout=TIMEOUT))
        self._keep(kind, name, answer.id, checked, answer.properties)

    def _update(self, kind: str, name: str, checked: Any, *, preview: bool = False) -> Any:
        old = self.state[name]
        return proto.UpdateRequest(
            id=old.ident,
            urn=old.urn,
            name=name,
            type=f"vertexdeploy:index:{kind}",
            olds=encode(old.outputs, old.secrets),
            old_inputs=encode(old.inputs, old.secrets),
            news=checked,
            preview=preview,
        )

    def _delete(self, kind: str, name: str, old: Resource) -> None:
        self.stub.Delete(
            proto.DeleteRequest(
                id=old.ident,
                urn=old.urn,
                name=name,
                type=f"vertexdeploy:index:{kind}",
                properties=encode(old.outputs, old.secrets),
                old_inputs=encode(old.inputs, old.secrets),
            ),
            timeout=TIMEOUT,
        )

    def _keep(self, kind: str, name: str, ident: str, inputs: Any, outputs: Any) -> None:
        told, secrets = decode(outputs)
        assert not any(value is UNKNOWN for value in told.values()), told
        self.state[name] = Resource(urn(kind, name), ident, decode(inputs)[0], told, secrets=secrets)

    def _kept(self, kind: str, name: str, checked: Any, call: Any) -> Any:
        """Make a call; keep the state that a failure carries, as the engine does."""
        try:
            return call()
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            for detail in status.details if status else ():
                failed = proto.ErrorResourceInitFailed()
                if detail.Unpack(failed):
                    self._keep(kind, name, failed.id, checked, failed.properties)
                    self.state[name].init_errors = list(failed.reasons)
                    raise InitFailed(failed.reasons[0]) from error
            raise

    def cancel(self) -> None:
        self.stub.Cancel(empty_pb2.Empty(), timeout=TIMEOUT)


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::shop::vertexdeploy:index:{kind}::{name}"
