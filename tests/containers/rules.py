"""The rules that every Dockerfile of the project keeps, checked on its text: no engine, no network.

hadolint checks style; these are the project's promises: nothing runs as root, bases are pinned, signals reach the
server. Left out: a full Dockerfile parser (heredocs are refused rather than misread).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined; `word` is upper case."""

    word: str
    value: str


def parse(text: str) -> list[Instruction]:
    """Split a Dockerfile into instructions, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    parsed = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [Instruction(word.upper(), value.strip()) for word, _, value in parsed]


def broken(text: str) -> list[str]:
    """Return one line for each rule that a Dockerfile breaks."""
    instructions = parse(text)
    arguments = [i.value.partition("=") for i in instructions if i.word == "ARG"]
    defaults = {name: value for name, given, value in arguments if given}  # declared again in a stage: no new default
    starts = [at for at, i in enumerate(instructions) if i.word == "FROM"]
    if not starts:
        return ["no FROM"]
    last = instructions[starts[-1] :]
    return [
        *[f"{line}: a frontend that is fetched is a base too" for line in re.findall(r"(?m)^# *syntax=.*", text)],
        *_bases([instructions[at].value for at in starts], defaults),
        *_user([i.value for i in last if i.word == "USER"]),
        *_last_words(last),
        *_fetching(instructions),
    ]


def _bases(values: list[str], defaults: dict[str, str]) -> list[str]:
    found: list[str] = []
    stages: set[str] = set()
    for value in values:
        reference, _, stage = re.sub(r"^--platform=\S+\s+", "", value).partition(" AS ")
        variable = re.fullmatch(r"\$\{(\w+)\}", reference)
        if reference not in stages | {"scratch"}:
            if variable is None:
                found.append(f"FROM {reference}: name the base in an ARG, so that a release can pin its digest")
            elif not re.search(r":\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}$", defaults.get(variable[1], "")):
                found.append(f"ARG {variable[1]}: its default must be a tag with a minor version, and its digest")
        stages.add(stage.strip())
    return found


def _user(values: list[str]) -> list[str]:
    if not values:
        return ["the last stage has no USER"]
    uid = values[-1].partition(":")[0]
    return [] if uid.isdigit() and int(uid) > 0 else [f"USER {values[-1]}: must be a numeric id above 0 (runAsNonRoot)"]


def _last_words(last: list[Instruction]) -> list[str]:
    found: list[str] = []
    values = {i.word: i.value for i in last}
    if not _exec_form(values.get("ENTRYPOINT", "")):
        found.append("ENTRYPOINT must be in exec form: a shell in between would not pass SIGTERM on")
    if "CMD" in values and not _exec_form(values["CMD"]):
        found.append("CMD must be in exec form")
    if values.get("STOPSIGNAL", "SIGTERM") != "SIGTERM":
        found.append("STOPSIGNAL must be SIGTERM, which the server drains on")
    return found


def _fetching(instructions: list[Instruction]) -> list[str]:
    found = [f"ADD {i.value}: use COPY" for i in instructions if i.word == "ADD"]
    for i in instructions:
        if i.word == "RUN" and "<<" in i.value:
            found.append("RUN with a heredoc: write a script and COPY it")
        if i.word == "RUN" and re.search(r"--trusted-host|--insecure|\bcurl\b.*\|", i.value):
            found.append(f"RUN {i.value}: fetches without checking who answers")
        if i.word in {"ARG", "ENV"} and re.search(r"(?i)(token|password|secret|api_?key)\w*=", i.value):
            found.append(f"{i.word} {i.value}: secrets stay in the image's history")
    return found


def _exec_form(value: str) -> bool:
    try:
        words = json.loads(value)
    except ValueError:
        return False
    return isinstance(words, list) and bool(words) and all(isinstance(word, str) for word in words)
