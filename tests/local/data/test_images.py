from __future__ import annotations

from pathlib import Path

import pytest

from vertex_deploy.errors import ImageNotMapped, LocalError, UsageError
from vertex_deploy.local.data.images import ImageMap, LocalImage, command_line, repository

DIGEST = "us-docker.pkg.dev/p/repo/app@sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (DIGEST, "us-docker.pkg.dev/p/repo/app"),
        ("us-docker.pkg.dev/p/repo/app:1.2", "us-docker.pkg.dev/p/repo/app"),
        ("127.0.0.1:5000/app:1.2@sha256:" + "0" * 64, "127.0.0.1:5000/app"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app"),
        ("app", "app"),
    ],
)
def test_a_repository_has_no_tag_and_no_digest_but_may_have_a_port(reference, expected):
    assert repository(reference) == expected


def test_the_exact_reference_wins_over_the_repository_and_that_over_the_longest_glob():
    images = ImageMap.parse(
        ["us-*=short glob", "us-docker.pkg.dev/p/*=long glob", "us-docker.pkg.dev/p/repo/app=name", f"{DIGEST}=exact"]
    )
    assert images.resolve(DIGEST).argv == ("exact",)
    assert images.resolve("us-docker.pkg.dev/p/repo/app:9").argv == ("name",)
    assert images.resolve("us-docker.pkg.dev/p/repo/other:9").argv == ("long", "glob")
    assert images.resolve("us-x/y").argv == ("short", "glob")


def test_a_command_is_split_as_a_shell_would_and_keeps_its_equals_signs(tmp_path):
    images = ImageMap.parse(["app=python -m serving --name='a b' --x=1"], cwd=tmp_path)
    assert images.resolve("app") == LocalImage(("python", "-m", "serving", "--name=a b", "--x=1"), tmp_path)


def test_a_reference_of_a_thousand_tags_takes_no_time():
    # A search that tries every number of tags from everywhere takes hours for it.
    assert repository("app" + ":a" * 200_000 + "!").endswith("!")
    assert repository("app" + ":a" * 3) == "app:a"


def test_an_unmapped_image_is_refused_with_the_option_that_maps_it():
    with pytest.raises(ImageNotMapped) as caught:
        ImageMap.parse(["other=x"]).resolve(DIGEST)
    assert str(caught.value) == (
        f"image '{DIGEST}' has no local command: start Local Vertex with --image 'REF=COMMAND', "
        "for instance --image 'us-docker.pkg.dev/p/repo/app=python -m serving'"
    )


def test_a_file_may_be_yaml_or_json_and_an_option_wins_over_it(tmp_path):
    yaml, json = tmp_path / "images.yaml", tmp_path / "images.json"
    yaml.write_text("app: python -m serving\nother: [python, -c, 'pass']\n")
    json.write_text('{"app": "python -m serving", "other": ["python", "-c", "pass"]}')
    for file in (yaml, json):
        images = ImageMap.parse(["app=mine"], file=file)
        assert images.commands == {"app": ("mine",), "other": ("python", "-c", "pass")}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("app", "expected REF=COMMAND"),
        ("=python", "expected REF=COMMAND"),
        ("app=", "the command is empty"),
        ("app='", "cannot be split into words"),
    ],
)
def test_an_entry_that_cannot_be_understood_is_refused(entry, message):
    with pytest.raises(UsageError, match=message):
        ImageMap.parse([entry])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("app: 3\n", "expected a command"),
        ("app: []\n", "expected a command"),
        ("app: {", "neither YAML nor JSON"),
        (b"app: \xe4", "not UTF-8: byte 5"),
        ("app: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("app: {x: &a [*a]}", "expected a command"),
        # Written out, it would have nine to the eighth words.
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
            "expected a command",
        ),
        ("#" + "a" * (1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_with_its_name(tmp_path, content, message):
    file = tmp_path / "images.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message) as caught:
        ImageMap.parse(file=file)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        ImageMap.parse(file=Path("/nowhere/images.yaml"))


def test_args_are_appended_and_a_command_is_refused():
    image = LocalImage(("python", "-m", "serving"), Path("/"))
    assert command_line(image, command=[], args=["--fast"], reference="app") == ("python", "-m", "serving", "--fast")
    with pytest.raises(LocalError, match=r"containerSpec\.command \('triton'\) cannot replace"):
        command_line(image, command=["triton"], args=[], reference="app")
