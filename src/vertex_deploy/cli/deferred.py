"""Imports of Google's Vertex AI clients the services and messages in use.

``google.cloud.aiplatform_v1`` imports its thirty services with their hundred modules of messages; the commands use
four, and the rest takes longer than all else that a command does. The package names them in ``__lazy_modules__`` for
Python 3.15, which imports such modules where they are first used (PEP 810). For older ones this finder defers the
``__init__`` of whole packages: submodules are imported as ever, and any other name that somebody asks for runs it.

Left out: packages of which most is used.
"""

from __future__ import annotations

import sys
import threading
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_VERSIONS = ("google.cloud.aiplatform_v1", "google.cloud.aiplatform_v1beta1")
PACKAGES = frozenset({*_VERSIONS, *(f"{version}.types" for version in _VERSIONS)})
_SINCE = (3, 15)


class _Deferred:
    """A loader that leaves a package's ``__init__`` to the first use of a name that only it defines.

    Args:
        loader: the package's own.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = threading.RLock()
        self._begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The package's own way."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet but a ``__getattr__`` (PEP 562); for its sources and files the module has its own loader."""

        def attribute(name: str) -> Any:
            import importlib  # noqa: PLC0415 - beside its only use

            whole = f"{module.__name__}.{name}"
            try:
                return importlib.import_module(whole)
            except ModuleNotFoundError as error:
                if error.name != whole:
                    raise
            with self._lock:
                if not self._begun:
                    self._run(module)
            if vars(module).get("__getattr__") is not attribute:
                return getattr(module, name)
            # The package asks itself while it runs.
            if name in vars(module):
                return vars(module)[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        vars(module)["__getattr__"] = attribute
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader

    def _run(self, module: ModuleType) -> None:
        """Run the package; until it has run to its end, other threads that ask for a name wait."""
        ours = vars(module)["__getattr__"]
        self._begun = True
        try:
            self._loader.exec_module(module)
        except BaseException:
            # As with any import that failed: whoever asks next tries again.
            self._begun = False
            raise
        if vars(module).get("__getattr__") is ours:
            del vars(module)["__getattr__"]


class _Finder:
    """A finder for ``sys.meta_path`` that finds ``PACKAGES`` as everybody does, and defers them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``; None leaves the name to the others."""
        if name not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Deferred(spec.loader)  # type: ignore[assignment] # a loader by its methods
        return spec


def install() -> None:
    """Defer ``PACKAGES`` in this process from now on; a package that is imported already stays as it is."""
    if sys.version_info < _SINCE and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
