"""What happens on RESTORE:ID. `job` has the steps in their order."""

from squirrel_ioc.jobs.restore.job import restore_snapshot
from squirrel_ioc.jobs.restore.still_valid import ENABLE_SETTING

__all__ = ["ENABLE_SETTING", "restore_snapshot"]
