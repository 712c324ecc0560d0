"""Which local command stands for which container image.

A serving container's image (``us-docker.pkg.dev/p/repo/app@sha256:...``) is run on this machine as a process. The
image map says which: ``REF=COMMAND`` on the command line, or a YAML or JSON file. REF is an exact reference, a
repository without tag and digest, or a glob; exact wins over repository, repository over glob, and the longer glob over
the shorter. COMMAND is split as a shell would split it, but no shell runs it. It stands for the image's ENTRYPOINT:

- the model's ``args`` are appended to it;
- the model's ``command`` would replace it by a program inside the image, which is not here: deploying such a model is
  refused, rather than running something else than was asked for.

Where podman is installed, COMMAND may be ``container:IMAGE``: that image is run (``podman``), and with ``container:``
alone the image that the model names.
"""

from __future__ import annotations

import fnmatch
import re
import reprlib
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vertex_deploy.errors import ImageNotMapped, LocalError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A tag, a digest or both. Not any number of them: searching would take the square of a hostile reference's length.
_TAG_OR_DIGEST = re.compile(r"(@[A-Za-z0-9+._-]+:[0-9a-fA-F]+|:[\w][\w.-]{0,127}){1,2}$", re.ASCII)
_GLOB = frozenset("*?[")
_CONTAINER = "container:"
_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalImage:
    """What runs for an image.

    Args:
        argv: program and arguments.
        cwd: the working directory, and what a relative program path is relative to.
        container: the image to run as a container; "" runs ``argv`` as a process.
    """

    argv: tuple[str, ...]
    cwd: Path
    container: str = ""


def repository(reference: str) -> str:
    """An image reference without tag and digest; a registry's port is not a tag."""
    return _TAG_OR_DIGEST.sub("", reference)


def _parse_command(reference: str, command: object, where: str) -> tuple[str, ...]:
    if isinstance(command, list) and command and all(isinstance(word, str) and word for word in command):
        return tuple(command)
    if not isinstance(command, str):
        raise UsageError(
            f"{where}: {reference}: expected a command as one string or a list of words, not {reprlib.repr(command)}"
        )
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"{where}: {reference}: the command cannot be split into words ({error}): {command}") from None
    if words and words[0].startswith(_CONTAINER) and len(words) > 1:
        raise UsageError(f"{where}: {reference}: {words[0]} takes no arguments; give the model containerSpec.args")
    if not words:
        raise UsageError(f"{where}: {reference}: the command is empty; for instance {reference}='python -m serving'")
    return words


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise UsageError(f"{path}: the image map is larger than {_MAX_FILE} bytes")
        # JSON is YAML, so one parser reads both.
        content = yaml.safe_load(data.decode())
    except OSError as error:
        raise UsageError(f"{path}: the image map cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the image map is not UTF-8: byte {error.start}") from None
    except RecursionError:
        raise UsageError(f"{path}: the image map is nested too deeply; write REF: COMMAND") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: the image map is neither YAML nor JSON: {one_line(error)}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path}: the image map must be a mapping of image references to commands")
    return content


@dataclass(slots=True)
class ImageMap:
    """Image references and the local commands that stand for them.

    Args:
        commands: reference, repository or glob -> program and arguments.
        cwd: the directory that commands run in.
    """

    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)

    @classmethod
    def parse(cls, entries: Sequence[str] = (), *, file: Path | None = None, cwd: Path | None = None) -> ImageMap:
        """Read ``--image REF=COMMAND`` options and a file of them; an option wins over the file.

        Args:
            entries: the options' values.
            file: YAML or JSON, ``REF: COMMAND`` with COMMAND one string or a list of words.
            cwd: the directory that commands run in; the current one if None.

        Raises:
            UsageError: an entry or the file cannot be understood.
        """
        images = cls(cwd=(cwd or Path.cwd()).resolve())
        if file is not None:
            for reference, command in _read_file(file).items():
                images.commands[reference] = _parse_command(reference, command, str(file))
        for entry in entries:
            reference, equals, command = entry.partition("=")
            if not equals or not reference.strip():
                raise UsageError(f"--image {entry!r}: expected REF=COMMAND, for instance 'app=python -m serving'")
            images.commands[reference.strip()] = _parse_command(reference.strip(), command, "--image")
        return images

    def resolve(self, reference: str) -> LocalImage:
        """The local command for an image.

        Raises:
            ImageNotMapped: nothing matches; the message names the option that would.
        """
        for key in (reference, repository(reference)):
            if key in self.commands:
                return self._image(self.commands[key], reference)
        globs = [
            key
            for key in self.commands
            if _GLOB.intersection(key)
            and (fnmatch.fnmatchcase(reference, key) or fnmatch.fnmatchcase(repository(reference), key))
        ]
        if globs:
            return self._image(self.commands[max(globs, key=len)], reference)
        raise ImageNotMapped(
            f"image {reference!r} has no local command: start Local Vertex with --image 'REF=COMMAND', for instance "
            f"--image '{repository(reference)}=python -m serving'"
        )

    def _image(self, command: tuple[str, ...], reference: str) -> LocalImage:
        if command[0].startswith(_CONTAINER):
            return LocalImage((), self.cwd, container=command[0].removeprefix(_CONTAINER) or reference)
        return LocalImage(command, self.cwd)


def command_line(image: LocalImage, *, command: Sequence[str], args: Sequence[str], reference: str) -> tuple[str, ...]:
    """Program and arguments of a container that runs as a local process; only the arguments of one that is run.

    Args:
        image: what the map holds for the image.
        command: the model's containerSpec.command; must be empty, see the module's docstring.
        args: the model's containerSpec.args, already expanded.
        reference: the image, for the message.

    Raises:
        LocalError: ``command`` is set.
    """
    if image.container:
        return tuple(args)
    if command:
        raise LocalError(
            f"image {reference!r} runs locally as {shlex.join(image.argv)!r}, so containerSpec.command "
            f"({shlex.join(command)!r}) cannot replace the image's entrypoint: upload the model without a command and "
            "put what it does into the image map"
        )
    return (*image.argv, *args)
