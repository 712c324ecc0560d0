"""The desks of ``desk`` as fixtures."""

from tests.cli.desk import desk, group

__all__ = ["desk", "group"]
