"""The command line of `containers.tools`: setup, base-image, build, run, pin, prune, env. No decisions of its own.

python3 -m containers.tools setup             # Debian packages and the base image, once a machine
python3 -m containers.tools build torch-aoti  # prints the image's id
python3 -m containers.tools run torch-aoti --artifact DIR --port 8080
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from containers.tools import base, image, machine
from containers.tools.process import ToolError, run, say
from containers.tools.store import ROOT, Store


def setup(store: Store, options: argparse.Namespace) -> None:
    """Install what is missing and make the base image; nothing where both are there."""
    machine.install_packages()
    base_image(store, options)


def base_image(store: Store, options: argparse.Namespace) -> None:
    """Make the stand-in for the official Python image."""
    store.write()
    made = base.make(store, cache=options.cache, mirror=options.mirror)
    say(f"{base.NAME}: {'made' if made else 'already there'} in {store.folder}")


def build(store: Store, options: argparse.Namespace) -> None:
    """Build an image of this checkout and print its id."""
    if options.image not in image.names():
        raise ToolError(f"containers/{options.image}/Dockerfile is not there; images: {', '.join(image.names())}")
    store.write()
    pip = {} if options.no_machine_pip else machine.read_pip_options()
    bundle = machine.ca_bundle(os.environ)
    mounts = machine.plan_mounts(pip, bundle)
    build_args = {"REVISION": revision()} | dict(pair.partition("=")[::2] for pair in options.build_arg)
    if "TORCH_INDEX" not in build_args and machine.has_local_torch(pip):
        build_args["TORCH_INDEX"] = ""
    with tempfile.TemporaryDirectory(prefix="build-", dir=store.folder) as scratch:
        paths = dict(mounts.paths)
        if mounts.pip_conf:
            paths["/etc/pip.conf"] = Path(scratch, "pip.conf")
            paths["/etc/pip.conf"].write_text(mounts.pip_conf, encoding="utf-8")
        tag = options.tag or f"localhost/{options.image}:local"
        for argv in image.build_argvs(options.image, tag=tag, mounts=paths, build_args=build_args, pull=options.pull):
            run(argv, env=store.environment(), to_stderr=True)  # progress, for the person
    inspect = ["podman", "image", "inspect", "--format", "{{.Id}}", tag]
    sys.stdout.write(run(inspect, env=store.environment()) + "\n")


def run_image(store: Store, options: argparse.Namespace) -> None:
    """Start a container in the background and print its id."""
    store.write()
    storage_uri = image.ARTIFACT_MOUNT if options.artifact is not None else options.storage_uri
    environment = image.aip_environment(port=options.port, storage_uri=storage_uri)
    environment |= dict(pair.partition("=")[::2] for pair in options.env)
    reference = f"localhost/{options.image}:local" if options.image in image.names() else options.image
    wanted = image.Run(
        image=reference,
        name=options.name or f"{options.image.replace('/', '-').replace(':', '-')}-{options.port}",
        environment=environment,
        artifact=options.artifact,
        limits=image.Limits(memory=options.memory, cpus=options.cpus),
    )
    sys.stdout.write(run(wanted.argv(), env=store.environment()) + "\n")
    say(f"health: http://127.0.0.1:{options.port}{environment['AIP_HEALTH_ROUTE']}")


def pin(store: Store, options: argparse.Namespace) -> None:
    """Ask the registry for the digest behind a tag, and print the reference that a release builds on."""
    store.write()
    argv = ["skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{options.reference}"]
    try:
        sys.stdout.write(image.pinned(options.reference, run(argv, env=store.environment())) + "\n")
    except ValueError as error:
        raise ToolError(str(error)) from None


def prune(store: Store, _: argparse.Namespace) -> None:
    """Remove layers that no image uses, and what builds that were killed left; no build may be running."""
    store.write()
    run(["buildah", "rm", "--all"], env=store.environment())
    removed = run(["podman", "image", "prune", "--force"], env=store.environment()).split()
    say(f"{len(removed)} layers removed from {store.folder}")


def env(store: Store, _: argparse.Namespace) -> None:
    """Print the two variables that make a shell's podman and buildah use the project's store."""
    store.write()
    sys.stdout.write(f"export CONTAINERS_CONF={store.containers_conf}\n")
    sys.stdout.write(f"export CONTAINERS_STORAGE_CONF={store.storage_conf}\n")


def revision() -> str:
    """Return the commit of this checkout, marked where files differ from it; `unknown` outside git."""
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - no shell
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def parser() -> argparse.ArgumentParser:
    """Return the parser; `handler` in its result is the function to call."""
    top = argparse.ArgumentParser(prog="python3 -m containers.tools", description="Build and run the project's images.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, handler in (("setup", setup), ("base-image", base_image)):
        one = commands.add_parser(name, help=(handler.__doc__ or "").partition("\n")[0])
        one.add_argument(
            "--cache", type=Path, help="a folder that keeps the base image's root filesystem between stores"
        )
        one.add_argument("--mirror", default=base.MIRROR, help="a Debian mirror (default: %(default)s)")
        one.set_defaults(handler=handler)
    one = commands.add_parser("build", help=build.__doc__)
    one.add_argument("image", help="a folder of containers/")
    one.add_argument("--tag", help="default: localhost/IMAGE:local")
    one.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    one.add_argument(
        "--pull", action="store_true", help="fetch the base image from its registry if it is not in the store"
    )
    one.add_argument(
        "--no-machine-pip", action="store_true", help="do not show this machine's pip configuration to the build"
    )
    one.set_defaults(handler=build)
    one = commands.add_parser("run", help=run_image.__doc__)
    one.add_argument("image", help="a folder of containers/, or an image's name or id")
    where = one.add_mutually_exclusive_group()
    where.add_argument("--artifact", type=Path, help="a folder to mount read-only and to name in AIP_STORAGE_URI")
    where.add_argument("--storage-uri", default="", help="AIP_STORAGE_URI, such as gs://BUCKET/PATH")
    one.add_argument("--port", type=int, default=8080)
    one.add_argument("--name")
    one.add_argument("--memory", default=image.Limits.memory)
    one.add_argument("--cpus", type=float, default=image.Limits.cpus)
    one.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    one.set_defaults(handler=run_image)
    one = commands.add_parser("pin", help=pin.__doc__)
    one.add_argument("reference", nargs="?", default=base.NAME, help="default: %(default)s")
    one.set_defaults(handler=pin)
    one = commands.add_parser("prune", help=prune.__doc__)
    one.set_defaults(handler=prune)
    one = commands.add_parser("env", help=env.__doc__)
    one.set_defaults(handler=env)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; return 0, or 1 with one line on stderr."""
    options = parser().parse_args(argv)
    try:
        options.handler(Store.default(), options)
    except ToolError as error:
        sys.stderr.write(f"containers.tools: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
