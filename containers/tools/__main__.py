"""The command line of `containers.tools`. No decisions of its own.

python3 -m containers.tools setup             # Debian packages and the base image, once a machine
python3 -m containers.tools build torch-aoti  # prints the image's id
python3 -m containers.tools run torch-aoti --artifact DIR --port 8080
python3 -m containers.tools job runner -- --version
python3 -m containers.tools pin               # base images: which digest each tag has now
python3 -m containers.tools tags              # images, and tags that change when what they are made of does
python3 -m containers.tools gate --severity CRITICAL --scans scans --sboms sboms
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from containers.tools import base, context, gates, image, job, machine, pins, registry
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
    dockerfile = image.FOLDER / options.image / "Dockerfile"
    if options.image not in image.names():
        raise ToolError(f"containers/{options.image}/Dockerfile is not there; images: {', '.join(image.names())}")
    taken = context.declared(dockerfile.read_text(encoding="utf-8"))
    store.write()
    pip = {} if options.no_machine_pip else machine.read_pip_options()
    bundle = machine.ca_bundle(os.environ)
    mounts = machine.plan_mounts(pip, bundle)
    defaults = {"REVISION": revision()}
    if not options.pull:
        defaults["BASE_IMAGE"] = base.NAME  # the Dockerfile's own is in a registry
    if machine.has_local_torch(pip):
        defaults["TORCH_INDEX"] = ""
    build_args = {name: value for name, value in defaults.items() if name in taken}
    build_args |= dict(pair.partition("=")[::2] for pair in options.build_arg)
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


def run_job(store: Store, options: argparse.Namespace) -> int:
    """Run a container to its end, as a Cloud Run job does, and exit as it does."""
    store.write()
    reference = f"localhost/{options.image}:local" if options.image in image.names() else options.image
    wanted = image.Job(
        image=reference,
        args=options.args,
        environment=dict(pair.partition("=")[::2] for pair in options.env),
        mounts={inside: Path(outside) for outside, _, inside in (pair.partition(":") for pair in options.mount)},
        limits=image.Limits(memory=options.memory, cpus=options.cpus, tmp="64m"),
    )
    try:
        return job.run_to_end(wanted, store).returncode
    except FileNotFoundError:
        raise ToolError("podman is not installed; the fix: python3 -m containers.tools setup") from None


def pin(_: Store, options: argparse.Namespace) -> int:
    """Bring the digests in bases.json and the Dockerfiles up to date; with --check, only say which are not."""
    where = image.FOLDER / "bases.json"
    moved: dict[pins.Reference, pins.Reference] = {}
    for table in pins.load(where).values():
        for name, old in table.items():
            if options.names and name not in options.names:
                continue
            new = old.at(registry.resolve(old))
            say(f"{name}: {old.name} {'is at ' + new.digest if new == old else f'{old.digest} -> {new.digest}'}")
            if new != old:
                moved[old] = new
    if moved and not options.check:
        for path in (where, *sorted(image.FOLDER.glob("*/Dockerfile"))):
            text = path.read_text(encoding="utf-8")
            if (new_text := pins.repinned(text, moved)) != text:
                path.write_text(new_text, encoding="utf-8")
                say(f"written: {path.relative_to(image.FOLDER.parent)}")
    return 1 if moved and options.check else 0


def tags(_: Store, __: argparse.Namespace) -> None:
    """Print each image of this checkout and the tag of what it is made of."""
    for name in image.names():
        sys.stdout.write(f"{name} {context.tag(ROOT, image.FOLDER / name)}\n")


def gate(_: Store, options: argparse.Namespace) -> None:
    """End with 1 where a scan found something as bad as --severity, or an image holds what the lock does not name."""
    pinned = gates.locked((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    scans, sboms = ({path.stem: path for path in folder.glob("*.json")} for folder in (options.scans, options.sboms))
    passed, failed = gates.judge(scans, sboms, pinned, severity=options.severity)
    for line in passed:
        say(line)
    if failed:
        raise ToolError("; ".join(failed))


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
    one = commands.add_parser("job", help=run_job.__doc__)
    one.add_argument("image", help="a folder of containers/, or an image's name or id")
    one.add_argument("args", nargs="*", help="after --: arguments of its program")
    one.add_argument("--mount", action="append", default=[], metavar="FOLDER:INSIDE", help="read-only")
    one.add_argument("--memory", default="512m")
    one.add_argument("--cpus", type=float, default=1)
    one.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    one.set_defaults(handler=run_job)
    one = commands.add_parser("pin", help=pin.__doc__)
    one.add_argument("names", nargs="*", help="keys of bases.json; all unless given")
    one.add_argument("--check", action="store_true", help="write nothing; exit 1 where a tag has moved")
    one.set_defaults(handler=pin)
    one = commands.add_parser("tags", help=tags.__doc__)
    one.set_defaults(handler=tags)
    one = commands.add_parser("gate", help=gate.__doc__)
    one.add_argument("--severity", required=True, help="findings of this severity or worse end the build")
    one.add_argument("--scans", type=Path, required=True, help="a folder: IMAGE.json of list-vulnerabilities")
    one.add_argument("--sboms", type=Path, required=True, help="a folder: IMAGE.json in SPDX 2.3")
    one.set_defaults(handler=gate)
    one = commands.add_parser("prune", help=prune.__doc__)
    one.set_defaults(handler=prune)
    one = commands.add_parser("env", help=env.__doc__)
    one.set_defaults(handler=env)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; return what it returned, 0 if nothing, or 1 with one line on stderr."""
    options = parser().parse_args(argv)
    try:
        return int(options.handler(Store.default(), options) or 0)
    except ToolError as error:
        sys.stderr.write(f"containers.tools: {error}\n")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
