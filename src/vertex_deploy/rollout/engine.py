"""Puts a rollout together: where it is stored, what it drives, where its evidence comes from.

``begin`` starts a rollout or finds the one that is under way; ``controller_for`` gives the controller that drives it
with Google's clients. Everything a controller needs is in the record: a rollout started from a laptop is continued by
any machine that reaches the store.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vertex_deploy.errors import RolloutError, StateError, UsageError
from vertex_deploy.metrics.quota import QuotaSource
from vertex_deploy.metrics.sources import lag_of, source_for
from vertex_deploy.release.release import spec_hash
from vertex_deploy.rollout.alert_clients import MonitoringAlerts
from vertex_deploy.rollout.alerting import AlertWatch, watching
from vertex_deploy.rollout.blobs import DirectoryBlobs
from vertex_deploy.rollout.controller import Controller
from vertex_deploy.rollout.evidence import Evidence
from vertex_deploy.rollout.gcs import GcsBlobs, parse_url
from vertex_deploy.rollout.notify import notifier_for
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.preflight import another, static_traffic
from vertex_deploy.rollout.preview import Preview, last_deployment, preview
from vertex_deploy.rollout.quota import checked
from vertex_deploy.rollout.record import Group, LogEntry, Record
from vertex_deploy.rollout.siblings import siblings_of
from vertex_deploy.rollout.store import RolloutStore
from vertex_deploy.spec import to_storage
from vertex_deploy.storage import SCHEME
from vertex_deploy.targets.vertex import VertexTarget
from vertex_deploy.targets.vertex_requests import deployed_id_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.release import Release
    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.readiness import Quotas
    from vertex_deploy.spec.models import Spec

ROOT = Path(".vertex-deploy/rollouts")
"""Where rollouts are kept, below the working directory."""

# What ``key_of`` gives, and so never a way out of the root.
_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._@-]*")


def open_store(name: str, root: Path | str = ROOT) -> RolloutStore:
    """The store of a name's rollouts.

    Args:
        name: what ``key_of`` gave.
        root: a folder, or gs://BUCKET/PREFIX.

    Raises:
        UsageError: neither.
        StateError: a record of a lockstep group names what is no name of a store.
    """
    if not _KEY.fullmatch(name):
        raise StateError(f"{root}: {name!r} is no name of a store of rollouts; abort the rollout of the group by hand")
    if str(root).startswith(SCHEME):
        parse_url(str(root))
        where = f"{str(root).rstrip('/')}/{name}"
        return RolloutStore(GcsBlobs(where), where, beside=lambda other: open_store(other, root))
    if "://" in str(root) or not str(root):
        raise UsageError(f"--store {root}: write a folder, or gs://BUCKET/PREFIX")
    folder = Path(root) / name
    return RolloutStore(DirectoryBlobs(folder), str(folder), beside=lambda other: open_store(other, root))


def key_of(spec: Spec, env: str | None) -> str:
    """What rollouts of a spec are stored under; see ``key_named``."""
    return key_named(spec.name, env)


def key_named(name: str, env: str | None) -> str:
    """What rollouts of a spec are stored under: its name, and the environment's after an @ so that they never mix."""
    return f"{name}@{env}" if env else name


def known_in(root: str) -> tuple[str, ...]:
    """What the rollouts of a folder are stored under, for people; none of a bucket, nor where it cannot be read."""
    if "://" in root:
        return ()
    try:
        return tuple(sorted(path.parent.name for path in Path(root).glob("*/current.json")))
    except OSError:
        return ()


def whoami() -> str:
    """user@host, for the history."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def git_commit(folder: Path) -> str:
    """The commit of the working tree that holds a file, or "" outside of one."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def begin(
    store: RolloutStore, spec: Spec, release: Release, *, now: float, who: str, why: str = ""
) -> tuple[Record, bool]:
    """The rollout to drive: the one that is under way, or a new one. The store's lease must be held.

    Returns:
        The record, and whether it was there already.

    Raises:
        RolloutError: one is under way for another spec or release; what differs is named. Or the traffic is Pulumi's.
    """
    current = store.current()
    if current is not None and not current.over:
        demand_same(current, spec, release)
        return current, True
    return create(store, spec, release, new_id(release, now), now=now, started=f"started by {who}{why}"), False


def new_id(release: Release, now: float) -> str:
    """A rollout's name: when it starts, and what it rolls out."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{release.hash[:6]}{secrets.token_hex(1)}"


def create(
    store: RolloutStore,
    spec: Spec,
    release: Release,
    rollout_id: str,
    *,
    now: float,
    started: str,
    group: Group | None = None,
) -> Record:
    """Make a new rollout the store's current one. The store's lease must be held.

    Args:
        store: where.
        spec: of the rollout.
        release: what is rolled out.
        rollout_id: see ``new_id``; members of a group share it.
        now: seconds since the epoch.
        started: the first line of its history.
        group: the lockstep group that it is part of.

    Raises:
        RolloutError: the traffic is Pulumi's.
    """
    if why := static_traffic(spec):
        raise RolloutError(why)
    record = Record(
        id=rollout_id,
        name=spec.name,
        started=now,
        entered=now,
        spec=to_storage(spec),
        spec_hash=spec_hash(spec),
        release=release,
        canary=deployed_id_for(f"{rollout_id}/{group.member}" if group else rollout_id),
        seq=2,
        tail=LogEntry(
            seq=1,
            at=now,
            kind="started",
            text=started,
            data={"release": release.hash, "image": release.image},
        ),
        group=group,
    )
    store.create(record)
    return record


def demand_same(current: Record, spec: Spec, release: Release) -> None:
    """Refuse to go on with a rollout of something else.

    Raises:
        RolloutError: the spec or the release changed since; names what differs.
    """
    if why := another(current, spec, release):
        raise RolloutError(why)


def preview_for(store: RolloutStore, spec: Spec, release: Release, *, now: float) -> Preview:
    """What a rollout of this release would do, read with Google's clients; nothing is changed.

    Raises:
        CloudError: an API may answer later.
    """
    plan = plan_of(spec)
    return preview(
        plan=plan,
        spec=spec,
        release=release,
        target=VertexTarget(spec, release),
        evidence=Evidence(plan=plan, gates=spec.rollout.gates, source_for=source_for(spec), log=list),
        current=store.current(),
        now=now,
        quotas=quotas_of(spec),
        alerts=MonitoringAlerts(spec.gcp.project) if watching(spec) else None,
        deployed_in=last_deployment(store),
    )


def quotas_of(spec: Spec) -> Quotas:
    """Reads the quotas that a new version is charged against, where Cloud Monitoring has them."""
    source = QuotaSource(spec.gcp.project, spec.gcp.region)
    return lambda now: checked(spec, source, now)


def controller_for(
    store: RolloutStore,
    record: Record,
    *,
    clock: Clock,
    on_entry: Callable[[LogEntry, Record], None] | None = None,
    on_idle: Callable[[Record], None] | None = None,
) -> Controller:
    """A controller of a stored rollout that uses Google's clients."""
    spec = spec_of(record)
    return Controller(
        store=store,
        record=record,
        plan=plan_of(spec, lag=lag_of(spec)),
        gates=spec.rollout.gates,
        target=VertexTarget(spec, record.release),
        source_for=source_for(spec),
        clock=clock,
        alerts=AlertWatch(spec, MonitoringAlerts(spec.gcp.project)) if watching(spec) else None,
        quotas=quotas_of(spec),
        siblings=siblings_of(record, store),
        notifier=notifier_for(spec.rollout.notify),
        on_entry=on_entry,
        on_idle=on_idle,
    )
