"""What the commands of ``rollout`` share, of one rollout and of a lockstep group: release, view, report, printing.

Left out: the commands themselves (``rollout``, ``lockstep``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore


def write_report(store: RolloutStore, record: Record, path: Path) -> None:
    """Write the HTML report to a place of the user's.

    Raises:
        UsageError: it cannot be written there.
    """
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.report import render_report, report_data  # noqa: PLC0415 - see above

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_report(report_data(store, record)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: the report cannot be written ({error.strerror}); name another place") from error


def release_of(spec: Any, spec_file: Path, release_file: Path | None) -> Any:
    """The release that a spec asks for, with what a build pinned.

    Raises:
        UsageError: the pins cannot be read.
    """
    from vertex_deploy.release import build_release, read_pins  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.engine import git_commit  # noqa: PLC0415 - see above

    pins = read_pins(release_file) if release_file else None
    return build_release(spec, pins=pins, commit=git_commit(spec_file.parent))


def newest(store: RolloutStore) -> Record:
    """The newest rollout of a store.

    Raises:
        RolloutError: there is none.
    """
    from vertex_deploy.errors import RolloutError  # noqa: PLC0415 - --help must not wait for it

    record = store.current()
    if record is None:
        raise RolloutError(f"{store.where}: no rollout yet; begin one with `vertex-deploy rollout start`")
    return record


def view(store: RolloutStore, record: Record) -> Any:
    """The view of a record at this moment."""
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.rollout.plan import plan_of, spec_of  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.view import view_of  # noqa: PLC0415 - see above

    now = time.time()
    return view_of(record, plan_of(spec_of(record)), now=now, holder=store.holder(now))


def lines(store: RolloutStore, record: Record) -> list[str]:
    """The view of a record as lines of text."""
    from vertex_deploy.rollout import view as views  # noqa: PLC0415 - --help must not wait for it

    return views.lines(view(store, record))
