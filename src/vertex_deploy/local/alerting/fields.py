"""What Local Vertex does with every field of alert policies, notification channels and snoozes: a table, and its page.

``docs/reference/local-alerting.md`` is written from it: ``python -m vertex_deploy.local.alerting.fields [--check]`` in
the project's root. Tests hold it against Google's messages, so that a field that a newer client brings needs a row, and
against the code: what is called evaluated changes what is evaluated, what is called refused is refused.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import monitoring_v3 as m

from vertex_deploy.spec.pages import write_or_check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = "docs/reference/local-alerting.md"


class Use(StrEnum):
    """What happens with a field."""

    EVALUATED = "evaluated"
    TOLD = "told"
    KEPT = "kept"
    OWN = "the service's"
    REFUSED = "refused"


MEANING = {
    Use.EVALUATED: "It decides what opens and closes incidents, or who is told.",
    Use.TOLD: "It is in notifications or incidents, and does nothing else.",
    Use.KEPT: "It is kept and answered; lists can be filtered by it where the API says so.",
    Use.OWN: "The service writes it; what a client sends is ignored or, where the API says so, refused.",
    Use.REFUSED: "INVALID_ARGUMENT with the field's name.",
}
_E, _T, _K, _O, _R = Use.EVALUATED, Use.TOLD, Use.KEPT, Use.OWN, Use.REFUSED
Row = tuple[Use, str]

TABLES: Mapping[Any, Mapping[str, Row]] = {
    m.AlertPolicy: {
        "name": (_O, ""),
        "display_name": (_T, "at most 512 characters"),
        "documentation": (_T, ""),
        "user_labels": (_T, "at most 64"),
        "conditions": (_E, "one to six"),
        "combiner": (_E, "all but COMBINE_UNSPECIFIED"),
        "enabled": (_E, "a policy that is disabled has its incidents cancelled"),
        "validity": (_O, "NOT_FOUND while the metric of a condition does not exist"),
        "notification_channels": (_E, "at most 16 of the same project, all of which exist"),
        "creation_record": (_O, ""),
        "mutation_record": (_O, ""),
        "alert_strategy": (_E, ""),
        "severity": (_T, ""),
    },
    m.AlertPolicy.Documentation: {
        "content": (_T, "at most 8,192 characters and 10,240 bytes; variables are replaced"),
        "mime_type": (_T, "text/markdown or nothing"),
        "subject": (_T, "at most 10,240 bytes; variables are replaced, then cut to 255 bytes"),
        "links": (_T, "at most three"),
    },
    m.AlertPolicy.Documentation.Link: {
        "display_name": (_T, "1 to 63 characters"),
        "url": (_T, "at most 2,083 characters; variables are replaced"),
    },
    m.AlertPolicy.AlertStrategy: {
        "notification_rate_limit": (_R, "as the service does without a condition on logs"),
        "notification_prompts": (_E, "OPENED, or OPENED and CLOSED"),
        "auto_close": (_E, "30 minutes to 7 days"),
        "notification_channel_strategy": (_R, "there are no reminders"),
    },
    m.AlertPolicy.Condition: {
        "name": (_O, "an update may name a condition to keep it"),
        "display_name": (_T, ""),
        "condition_threshold": (_E, ""),
        "condition_absent": (_E, ""),
        "condition_matched_log": (_R, "there are no logs"),
        "condition_monitoring_query_language": (_R, ""),
        "condition_prometheus_query_language": (_R, ""),
        "condition_sql": (_R, ""),
    },
    m.AlertPolicy.Condition.MetricThreshold: {
        "filter": (_E, "at most 2,048 characters; names metric and resource type; no groups, no metadata"),
        "aggregations": (_E, "at most two"),
        "denominator_filter": (_E, "names a metric"),
        "denominator_aggregations": (_E, "period and grouping of the numerator's"),
        "forecast_options": (_R, ""),
        "comparison": (_E, "COMPARISON_GT or COMPARISON_LT, as in the service"),
        "threshold_value": (_E, "a finite number"),
        "duration": (_E, "whole minutes, at most 23.5 hours"),
        "trigger": (_E, ""),
        "evaluation_missing_data": (_E, "with a duration of at least a minute"),
    },
    m.AlertPolicy.Condition.MetricAbsence: {
        "filter": (_E, "as above"),
        "aggregations": (_E, "at most two"),
        "duration": (_E, "whole minutes, two to 23.5 hours; nanoseconds are ignored, says the API"),
        "trigger": (_E, ""),
    },
    m.AlertPolicy.Condition.Trigger: {
        "count": (_E, "at least 1"),
        "percent": (_E, "above 0, at most 100"),
    },
    m.Aggregation: {
        "alignment_period": (_E, "a minute to 25 hours; ignored without an aligner, says the API"),
        "per_series_aligner": (_E, "all but ALIGN_PERCENT_CHANGE"),
        "cross_series_reducer": (_E, "all"),
        "group_by_fields": (_E, "labels; refused without a reducer"),
    },
    m.NotificationChannel: {
        "type": (_E, "webhook_tokenauth or webhook_basicauth; does not change"),
        "name": (_O, ""),
        "display_name": (_K, "at most 512 characters"),
        "description": (_K, "at most 1,024 characters"),
        "labels": (_E, "url, username, password; the password is never answered"),
        "user_labels": (_K, "at most 64"),
        "verification_status": (_R, "as in the service; webhooks are not verified"),
        "enabled": (_E, "a channel that is disabled is told nothing"),
        "creation_record": (_O, ""),
        "mutation_records": (_O, "the last ten"),
    },
    m.Snooze: {
        "name": (_O, ""),
        "criteria": (_E, ""),
        "interval": (_E, ""),
        "display_name": (_K, "1 to 512 characters"),
    },
    m.Snooze.Criteria: {
        "policies": (_E, "one to 16 of the same project, all of which exist"),
        "filter": (_E, "with one policy; labels of resource and metric"),
    },
    m.TimeInterval: {
        "end_time": (_E, "after the start"),
        "start_time": (_E, "not in the past when a snooze is created"),
    },
}
"""Message -> its fields, by their names in the API, in the order of the message."""


def page() -> str:
    """The page's text."""
    tables = []
    for message, rows in TABLES.items():
        name = message.meta.full_name.removeprefix("google.monitoring.v3.")
        lines = [f"| `{field}` | {use} | {note} |" for field, (use, note) in rows.items()]
        tables += [f"## {name}", "", "| field | | |", "|---|---|---|", *lines, ""]
    meanings = "\n".join(f"| {use} | {meaning} |" for use, meaning in MEANING.items())
    return (
        "<!-- generated by `python -m vertex_deploy.local.alerting.fields`; edit"
        " src/vertex_deploy/local/alerting/fields.py -->\n\n"
        "# What Local Vertex does with alerting's fields\n\n"
        "No field is accepted and then ignored. Where the sample period is shorter than a minute, a minute stands for\n"
        "a sample period.\n\n"
        f"| | |\n|---|---|\n{meanings}\n\n" + "\n".join(tables)
    )


def main(arguments: Sequence[str]) -> int:
    """Write the page, or check it; 1 if it is out of date."""
    return write_or_check({PAGE: page()}, Path.cwd(), arguments, "python -m vertex_deploy.local.alerting.fields")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
