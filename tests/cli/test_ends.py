"""How commands end: with the rollout's own exit code, whatever fails once it was driven; and what Ctrl-C leaves."""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.desk import SPEC, Desk
from vertex_deploy.cli import main, rollout, shown, steer
from vertex_deploy.cli.output import OutputFormat
from vertex_deploy.cli.screen import Screen
from vertex_deploy.errors import CloudError, StateError
from vertex_deploy.rollout.clock import ManualClock
from vertex_deploy.rollout.store import RolloutStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def failing(patch: pytest.MonkeyPatch, method: str, error: Exception, *, once_over: bool = True) -> None:
    """The store's method fails; ``once_over``: only when the newest rollout is over."""
    real: Callable[..., Any] = getattr(RolloutStore, method)

    def fails(store: RolloutStore, *arguments: Any, **keywords: Any) -> Any:
        record = store.current() if once_over else None
        if not once_over or (record is not None and record.over):
            raise error
        return real(store, *arguments, **keywords)

    patch.setattr(RolloutStore, method, fails)


@pytest.mark.parametrize("error", [CloudError("gs://b: 503"), StateError("no space")])
@pytest.mark.parametrize(("errors", "code", "ending"), [(0.0, 0, "promoted"), (0.3, 10, "rolled_back")])
def test_a_report_that_cannot_be_written_is_a_warning(
    desk: Desk, error: Exception, errors: float, code: int, ending: str
) -> None:
    desk.world.errors = errors
    failing(desk.patch, "attach", error)
    said = desk.run("start", "-o", "json")
    assert (said.code, said.json["ending"]) == (code, ending)
    (warning,) = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert warning == f"warning: the report was not written: {error}; `vertex-deploy rollout report` writes it"


def test_a_report_of_a_tick_or_of_a_steering_command_that_cannot_be_written_is_a_warning_too(desk: Desk) -> None:
    interrupted(desk)
    failing(desk.patch, "attach", CloudError("gs://b: 503"), once_over=False)
    ticked = desk.run("tick", "-o", "json")
    assert (ticked.code, "the report was not written" in ticked.err) == (0, True)
    aborted = desk.run("abort", "-o", "json")
    assert (aborted.code, aborted.json["ending"], "the report was not written" in aborted.err) == (11, "aborted", True)


def test_an_error_that_ended_the_driving_is_not_hidden_by_the_report(desk: Desk) -> None:
    interrupted(desk, sleeps=20)
    desk.world.target.hook = stops_answering
    failing(desk.patch, "attach", CloudError("gs://b: 503"), once_over=False)
    said = desk.run("start", "-o", "json")
    assert said.code == 4
    assert said.err.splitlines()[-1] == "error: observe: no permission"


def stops_answering(call: str, _moment: str) -> None:
    if call == "observe":
        raise CloudError("observe: no permission", code="PERMISSION_DENIED")


def test_a_lease_that_cannot_be_given_back_is_a_warning(desk: Desk) -> None:
    failing(desk.patch, "release", CloudError("gs://b: 503"))
    said = desk.run("start", "-o", "json")
    assert (said.code, said.json["ending"]) == (0, "promoted")
    assert "warning: the lease is left to expire, within 60 s: gs://b: 503" in said.err


def test_who_drives_it_need_not_be_known_at_the_end(desk: Desk) -> None:
    failing(desk.patch, "holder", CloudError("gs://b: 503"))
    said = desk.run("start", "-o", "json")
    assert (said.code, said.json["ending"]) == (0, "promoted")


def test_a_place_for_the_report_is_looked_at_before_anything_begins(desk: Desk) -> None:
    said = desk.run("start", "--report", str(desk.folder))
    assert said.code == 2
    assert said.error == f"{desk.folder}: the report cannot be written (Is a directory); name another place"
    assert not desk.root.exists()


def test_a_place_for_the_report_that_is_gone_at_the_end_is_a_warning(desk: Desk) -> None:
    place = desk.folder / "r" / "report.html"

    def gone() -> None:
        place.parent.rmdir()
        place.parent.write_text("a file is in its way")
        desk.clock.meanwhile = lambda: None

    desk.clock.meanwhile = gone
    said = desk.run("start", "-o", "json", "--report", str(place))
    assert (said.code, said.json["ending"]) == (0, "promoted")
    assert f"warning: {place}: the report cannot be written" in said.err


def test_a_place_for_the_events_is_opened_before_anything_begins(desk: Desk) -> None:
    said = desk.run("start", "--events", str(desk.folder))
    assert (said.code, said.error) == (
        2,
        f"{desk.folder}: events cannot be written (Is a directory); name another file",
    )
    assert desk.run("history").out == "no rollouts yet\n"


def test_a_full_disk_ends_the_events_not_the_rollout(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    said = desk.run("start", "-o", "json", "--events", "/dev/full")
    assert (said.code, said.json["ending"]) == (0, "promoted")
    (warning,) = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert (
        warning
        == f"warning: /dev/full: no more events can be written ({os.strerror(errno.ENOSPC)}); the rollout goes on"
    )
    assert capfd.readouterr() == ("", "")


class Gone:
    """A pipe whose reader went away."""

    def __init__(self, after: int) -> None:
        self.after, self.lines = after, 0

    def write(self, _text: str) -> int:
        self.lines += 1
        return 0

    def flush(self) -> None:
        if self.lines > self.after:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def isatty(self) -> bool:
        return False


def test_a_reader_that_goes_away_ends_the_lines_not_the_rollout(desk: Desk) -> None:
    """`rollout start | head -1`: nobody reads on, and the rollout must not stand at 10% without a controller."""
    out = Gone(after=1)
    desk.patch.setattr(sys, "stdout", out)
    controller = desk.world.start()
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        controller.journal.on_entry = screen.entry
        assert controller.run().over
    assert out.lines == 2


def interrupted(desk: Desk, *, sleeps: int = 1, verb: str = "start") -> Any:
    """Ctrl-C in a command's ``sleeps``-th sleep."""
    left = iter(range(sleeps - 1))

    def interrupt() -> None:
        if next(left, None) is None:
            desk.clock.meanwhile = lambda: None
            raise KeyboardInterrupt

    desk.clock.meanwhile = interrupt
    return desk.run(verb, "--plain")


def test_ctrl_c_in_a_hold_leaves_traffic_where_it_is_and_start_goes_on(desk: Desk) -> None:
    said = interrupted(desk, sleeps=20)
    assert said.code == 130
    last = "interrupted: traffic stays where it is; `vertex-deploy rollout start` goes on with the rollout"
    assert said.out.splitlines()[-1] == last
    held = desk.run("status", "-o", "json").json
    assert (held["phase"], held["controller"]) == ("holding", "")
    assert desk.world.target.split == {"111": 90, desk.world.record().canary: 10}
    assert (desk.keeps() / "report.html").is_file()
    said = desk.run("start", "-o", "json")
    assert (said.code, said.json["id"], said.json["ending"]) == (0, held["id"], "promoted")


@contextmanager
def handled(number: signal.Signals, how: signal.Handlers) -> Iterator[None]:
    """As this process may have been started: a runner of tests ignores some signals, or takes them."""
    before = signal.signal(number, how)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_scheduler_that_ends_the_process_and_a_terminal_that_goes_away_are_taken_as_ctrl_c(
    desk: Desk, number: signal.Signals, code: int
) -> None:
    sleeps = iter(range(20))

    def end() -> None:
        if next(sleeps, None) is None:
            desk.clock.meanwhile = lambda: None
            os.kill(os.getpid(), number)
            time.sleep(60)  # the signal ends it

    desk.clock.meanwhile = end
    with handled(number, signal.SIG_DFL):
        said = desk.run("start", "--plain")
        assert signal.getsignal(number) is signal.SIG_DFL
    assert said.code == code
    assert said.out.splitlines()[-1].startswith("interrupted: traffic stays where it is; ")
    held = desk.run("status", "-o", "json").json
    assert (held["phase"], held["controller"]) == ("holding", "")


def test_a_signal_that_is_sent_twice_does_not_break_off_giving_the_lease_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = RolloutStore.release
    again: list[signal.Signals] = []

    def disturbed(store: RolloutStore) -> None:
        for number in (signal.SIGHUP, signal.SIGTERM):
            again.append(number)
            os.kill(os.getpid(), number)
        release(store)

    monkeypatch.setattr(RolloutStore, "release", disturbed)
    monkeypatch.setattr(main, "monotonic", lambda: 0.0)
    desk.clock.meanwhile = lambda: os.kill(os.getpid(), signal.SIGHUP)
    with handled(signal.SIGTERM, signal.SIG_DFL), handled(signal.SIGHUP, signal.SIG_DFL):
        said = desk.run("start", "--plain")
    assert (said.code, again) == (129, [signal.SIGHUP, signal.SIGTERM])
    assert desk.run("status", "-o", "json").json["controller"] == ""


def test_a_signal_that_is_sent_again_later_ends_what_the_first_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 4.9, 5.0, 5.0])
    monkeypatch.setattr(main, "monotonic", lambda: next(times))
    settings: dict[str, Any] = {}
    with handled(signal.SIGTERM, signal.SIG_DFL), main._interruptible(settings):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert settings == {"signal": signal.SIGTERM}


def test_a_signal_that_is_ignored_stays_ignored(desk: Desk) -> None:
    desk.clock.meanwhile = lambda: os.kill(os.getpid(), signal.SIGHUP)
    with handled(signal.SIGHUP, signal.SIG_IGN):
        assert desk.run("start", "--plain").code == 0


def test_a_system_without_sighup_runs_commands_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert desk.run("start", "--plain").code == 0


def test_waiting_has_an_end_where_one_is_given(desk: Desk) -> None:
    desk.world.start()
    said = desk.run("status", "--wait", "--timeout", "10m")
    assert said.code == 6
    assert said.error.endswith(" is still preflight; see `rollout status`, or wait longer")
    assert desk.clock.time == pytest.approx(ManualClock().time + 600, abs=2)
    assert desk.run("start").code == 0
    assert desk.run("status", "--wait", "--timeout", "1s").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--timeout", "10m"), "--timeout is of --wait; give both"),
        (("--wait", "--timeout", "10"), "--timeout: "),
    ],
)
def test_a_timeout_that_means_nothing_is_a_wrong_command_line(desk: Desk, options: tuple[str, ...], words: str) -> None:
    said = desk.run("status", *options)
    assert said.code == 2
    assert words in said.error


def test_a_warning_cannot_command_the_terminal_and_ends_nothing_if_nobody_reads_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.warn("no \x1b[31mquota")
    assert capsys.readouterr().err == "warning: no \N{REPLACEMENT CHARACTER}[31mquota\n"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, write_through=True))
        with pytest.raises(BrokenPipeError):
            sys.stderr.write("nobody reads it")
        shown.warn("no quota")
        monkeypatch.undo()


def test_ctrl_c_of_who_follows_another_controller_ends_the_watching_only(desk: Desk) -> None:
    controller = desk.world.start()
    controller.run(stop=lambda record: bool(record.verdict))
    said = interrupted(desk, verb="watch")
    assert said.code == 130
    assert said.out.splitlines()[-1] == "no longer watched: the rollout itself goes on"
    desk.clock.meanwhile = lambda: None
    said = interrupted(desk, verb="pause")
    assert (said.code, said.out.splitlines()[-1]) == (130, "no longer watched: the rollout itself goes on")
    assert controller.run().phase == "paused"


STEERING = ("abort", "rollback", "pause", "resume", "promote")


@pytest.mark.parametrize("verb", STEERING)
def test_plain_is_an_option_of_every_steering_command(desk: Desk, verb: str) -> None:
    text = " ".join(desk.call("rollout", verb, "--help").out.split())
    assert "--plain" in text
    assert "One line an event, on a terminal too." in text


@pytest.mark.parametrize(("given", "plain"), [("1", True), ("true", True), ("0", False), (None, False)])
@pytest.mark.parametrize(("module", "verb"), [(steer, "abort"), (rollout, "start"), (rollout, "watch")])
def test_the_variable_says_what_the_option_says(
    desk: Desk, module: Any, verb: str, given: str | None, plain: bool
) -> None:
    interrupted(desk, sleeps=20)
    asked: list[bool] = []

    def made(*arguments: Any, **keywords: Any) -> Screen:
        asked.append(keywords["plain"])
        return Screen(*arguments, **keywords)

    desk.patch.setattr(module, "Screen", made)
    if given is not None:
        desk.patch.setenv("VERTEX_DEPLOY_PLAIN", given)
    desk.run(verb)
    assert asked == [plain]


def test_a_variable_that_says_neither_is_a_wrong_command_line(desk: Desk) -> None:
    desk.patch.setenv("VERTEX_DEPLOY_PLAIN", "perhaps")
    said = desk.run("abort")
    assert (said.code, "Invalid value for '--plain'" in said.error) == (2, True)


@pytest.mark.slow
def test_a_terminal_of_another_encoding_gets_question_marks(desk: Desk) -> None:
    interrupted(desk, sleeps=20)
    command = [sys.executable, "-m", "vertex_deploy", "rollout", "status", str(desk.file), "--store", str(desk.root)]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("lite0  holding  step 1 of 2 (10%)")
    assert "?? endpoint 1" in done.stdout


@pytest.mark.parametrize(("verb", "code"), [("abort", 11), ("rollback", 10), ("promote", 0)])
def test_a_steering_command_that_drives_by_itself_says_what_it_does_line_by_line(
    desk: Desk, verb: str, code: int
) -> None:
    interrupted(desk, sleeps=20)
    said = desk.run(verb, "--plain")
    assert said.code == code
    assert f"{verb} by" in said.out
    assert "report: " in said.out.splitlines()[-1]


def test_a_steering_command_shows_what_another_controller_does_for_it(desk: Desk) -> None:
    controller = desk.world.start()
    controller.run(stop=lambda record: bool(record.verdict))
    before = controller.record.seq

    def work() -> None:
        desk.clock.meanwhile = lambda: None
        controller.run()

    desk.clock.meanwhile = work
    said = desk.run("abort", "--plain")
    assert said.code == 11
    told = [line for line in said.out.splitlines() if line[2:3] == ":"]
    log = desk.world.store().log(controller.record.id)
    assert len(told) == len([entry for entry in log if entry.seq >= before])  # not what was before the request
    assert "abort by" in told[0]


def test_promote_and_resume_say_in_their_help_that_a_new_judge_starts(desk: Desk) -> None:
    for verb in ("promote", "resume"):
        assert "a new judge starts" in " ".join(desk.call("rollout", verb, "--help").out.split())


def test_promote_out_of_a_pause_that_a_gate_led_to_says_so(desk: Desk) -> None:
    desk.write(SPEC | {"rollout": SPEC["rollout"] | {"on_failure": "pause"}})
    desk.world.errors = 0.3
    assert desk.run("start").code == 12
    desk.world.errors = 0.0
    said = desk.run("promote", "--plain")
    assert said.code == 0
    assert "; a gate had failed: a new judge starts here" in said.out


def test_a_rollout_that_was_never_begun_says_so_and_the_next_one_is_not_in_its_way(desk: Desk) -> None:
    put = RolloutStore._put

    def fails(store: RolloutStore, name: str, data: bytes, generation: str) -> None:
        if name == "current.json":
            raise StateError(f"{store.where}/{name}: cannot be written (No space left on device)")
        put(store, name, data, generation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RolloutStore, "_put", fails)
        said = desk.run("start")
        assert (said.code, "No space left" in said.err) == (6, True)
    assert desk.run("status").code == 6
    (lone,) = desk.run("history", "-o", "json").json
    assert (lone["ending"], lone["phase"]) == ("not_begun", "preflight")
    desk.clock.time += 1
    assert desk.run("start").code == 0
    first, second = desk.run("history").out.splitlines()
    assert first.split()[:2] == [lone["id"], "not_begun"]
    assert "nothing was done; use `rollout start`" in first
    assert second.split()[1] == "promoted"
    assert desk.world.target.deploys == 1
    assert desk.run("history", "--id", lone["id"]).code == 0


def test_help_of_the_group_is_that_of_its_commands(desk: Desk) -> None:
    text = desk.call("rollout", "--help").out
    for verb in ("start", "status", "watch", *STEERING, "retry", "history", "report", "plan", "tick", "judge"):
        assert any(line.split()[:1] == [verb] for line in text.splitlines()), verb


@pytest.mark.parametrize("group", ["rollout", "local", "build"])
def test_the_help_of_a_group_cuts_no_sentence_off(desk: Desk, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = desk.call(group, "--help").out
    assert "..." not in text.partition("Commands:")[2]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_scheduler_may_tick_before_the_first_rollout_and_after_the_last(desk: Desk, form: str) -> None:
    for expected in ("no rollout is under way", "no rollout is under way; the last one"):
        said = desk.run("tick", "-o", form)
        assert (said.code, said.err) == (0, "")
        reason = said.json["reason"] if form == "json" else said.out.removeprefix("nothing is due: ")
        assert reason.startswith(f"{desk.root}/lite0: {expected}")
        assert desk.run("start").code == 0


def test_a_tick_leaves_a_rollout_to_the_controller_that_drives_it(desk: Desk) -> None:
    seen = []

    def tick() -> None:
        desk.clock.meanwhile = lambda: None
        seen.append(desk.run("tick"))

    desk.clock.meanwhile = tick
    assert desk.run("start").code == 0
    assert (seen[0].code, "nothing is due: " in seen[0].out) == (0, True)
    assert "lease" in seen[0].out or "controller" in seen[0].out


def test_a_rollback_that_comes_too_late_says_what_goes_back(desk: Desk) -> None:
    assert desk.run("start").code == 0
    said = desk.run("rollback")
    assert said.code == 6
    assert said.error.endswith(
        "begin one with `vertex-deploy rollout start` of the version before (its deploy.yaml, or --release) to go back "
        "to what is no longer deployed"
    )
    assert said.error.startswith(desk.run("abort").error)


EXAMPLES = [
    *(
        ("rollout", verb)
        for verb in ("start", "plan", "retry", "status", "watch", "history", "tick", "report", "judge")
    ),
    *(("rollout", verb) for verb in STEERING),
    *(("local", verb) for verb in ("up", "down", "status", "logs", "fault")),
]


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_help_ends_with_an_example_on_one_line_whose_options_there_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    *_, head, example = desk.call(*words, "--help").out.splitlines()
    assert head == "Example:"
    assert example.startswith(f"  vertex-deploy {' '.join(words)}")
    for command in example.split(" | "):
        _, group, verb, *rest = shlex.split(command)
        options = desk.call(group, verb, "--help").out.split()
        assert {word for word in rest if word.startswith("-") and word != "-"} <= {o.rstrip(",") for o in options}
