"""The log: standard error, a line a record, for people or for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any, Final

from squirrel_ioc.config import LogSettings
from squirrel_ioc.model.job import running_job

__all__ = ["JsonFormatter", "Labels", "setup_logging"]

_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_LIBRARIES: Final = ("asyncpg", "pgqueuer")


class Labels(logging.Filter):
    """Every record knows the job it belongs to (`job`, 0 for none); where libraries log an error, it is one line.

    They log with a trace what this program expects, and handles: that the database is away.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Label the record; it is always logged."""
        if not hasattr(record, "job"):
            record.job = running_job.get()
        if record.exc_info and record.name.split(".")[0] in _LIBRARIES:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", None
            record.exc_info = None
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601 with offset), level, logger, message; job and exception if there are."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if job := getattr(record, "job", 0):
            line["job"] = job
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def setup_logging(settings: LogSettings) -> None:
    """Send everything of `settings.level` and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Labels())
    handler.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
