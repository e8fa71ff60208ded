"""JOB:<id>: one job, whatever else runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

from squirrel_ioc.errors import StoreError
from squirrel_ioc.ioc.groups.job import ALARMS, KINDS, STATUSES
from squirrel_ioc.ioc.kinds.arrays import Strings, Text
from squirrel_ioc.ioc.kinds.pv import Pv, now, stamp_of
from squirrel_ioc.ioc.kinds.scalars import Choice, Double, Integer, String
from squirrel_ioc.ioc.ondemand.resource import SPEC, Context, Resource, number_of
from squirrel_ioc.model.job import MAX_NAMES_IN_ROW, JobInfo, JobKind

__all__ = ["JobResources"]

_MOVE_S: Final = 0.1
"""Progress is posted at most this often."""

_MADE: Final = {JobKind.SNAPSHOT: "snapshot_id", JobKind.IMPORT: "snapshot_id", JobKind.RESTORE: "backup_id"}

log = logging.getLogger(__name__)


def _result(info: JobInfo) -> int:
    """The snapshot that a job has made: the one it took or imported, or the backup of a restore."""
    return _number(_MADE.get(info.kind, ""), info)


def _of_result(key: str, info: JobInfo) -> Any:
    return info.result.get(key) if isinstance(info.result, Mapping) else getattr(info.result, key, None)


def _number(key: str, info: JobInfo) -> int:
    found = _of_result(key, info)
    return found if isinstance(found, int) else 0


def _rows(keys: tuple[str, ...], info: JobInfo) -> tuple[str, ...]:
    """The names or reasons of the PVs that a job could not deal with; at most those that its row keeps."""
    found = next((rows for key in keys if (rows := _of_result(key, info))), ())
    return tuple(map(str, found))[:MAX_NAMES_IN_ROW]


_COUNTS: Final = {
    "TOTAL": "PVs of the job",
    "COUNT": "Values stored",
    "MISSING": "PVs without a value",
    "WRITTEN": "PVs written",
    "UNCHANGED": "PVs that had the value already",
    "SKIPPED": "PVs that were left alone",
    "FAILED": "PVs whose write failed",
    "MISMATCH": "PVs that read back something else",
}


_LISTED: Final = partial(Strings, max_length=MAX_NAMES_IN_ROW, long=True)
_ITEMS: Final[Mapping[str, tuple[Callable[..., Pv], str, Callable[[JobInfo], Any]]]] = {
    "KIND": (partial(Choice, states=KINDS), "What kind of job it is", lambda info: info.kind),
    "USER": (String, "Who asked for it", lambda info: info.user),
    "RESULT": (Integer, "Snapshot it made, 0 if none", _result),
    **{name: (Integer, desc, partial(_number, name.lower())) for name, desc in _COUNTS.items()},
    "BAD:NAMES": (_LISTED, "PVs that failed, or had no value", partial(_rows, ("bad_names", "missing_names"))),
    "BAD:REASONS": (_LISTED, "Why, for each of BAD:NAMES", partial(_rows, ("bad_reasons", "missing_reasons"))),
    "PROGRESS": (partial(Double, egu="%", precision=1), "How far it is", lambda info: info.progress),
    "MSG": (partial(Text, max_length=512), "What it does, or how it ended", lambda info: info.message),
    "STATUS": (partial(Choice, states=STATUSES, alarms=ALARMS), "How it stands", lambda info: info.status),
}
"""In the order they are posted: STATUS comes last."""


class _JobResource(Resource):
    """One job. It is read from the database when it is not one of the last, and followed as long as it runs."""

    def __init__(self, context: Context, job_id: int) -> None:
        super().__init__(context)
        self.id = job_id
        self._pvs: WeakValueDictionary[str, Pv] = WeakValueDictionary()
        self._info: JobInfo | None = None
        self._reading = False
        self._moved = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def resolve(self, pvname: str, item: str) -> Pv:
        """The PV of an item that there is."""
        name = item.removesuffix(":S").removesuffix(":LONG")
        pv = self._pvs.get(name)
        if pv is None:
            pv = self._pvs[name] = self._made(pvname.removesuffix(":S").removesuffix(":LONG"), name)
        return pv if name == item else pv.twins[0]

    def _made(self, pvname: str, name: str) -> Pv:
        make, desc, value = _ITEMS[name]
        pv = make(pvname=pvname, group=self, pvspec=SPEC._replace(doc=desc))
        pv.twins = tuple(pv.make_twins())
        self._info = self._info or self._recent()
        if self._info is not None:
            pv.post(value(self._info), _stamp(self._info))
        else:
            for waiting in (pv, *pv.twins):
                self.wait_for(waiting)
            self.read()
        return pv

    def _recent(self) -> JobInfo | None:
        jobs = self.context.service.jobs
        return next((i for i in (jobs.current, *jobs.recent) if i is not None and i.id == self.id), None)

    def read(self) -> None:
        """Read it from the database."""
        if not self._reading:
            self._reading = True
            self.context.tasks.start(self._read(), f"reading job {self.id}")

    async def _read(self) -> None:
        info = None
        try:
            async with self.context.reading:
                info = await self.context.service.store.job(self.id)
        except StoreError as error:
            log.warning("job %d cannot be shown: %s", self.id, error)
        except Exception:  # who waits must hear of it, whatever it is
            log.exception("job %d cannot be shown", self.id)
        finally:
            self._reading = False
        if info is not None:
            self.show(info, _stamp(info))
        for pv in list(self._pvs.values()):
            for waiting in (pv, *pv.twins):
                if waiting.waiting is not None:
                    self.context.fetched(waiting, good=info is not None)

    def show(self, info: JobInfo, stamp: Any) -> None:
        """It stands so. What only moves is not shown too often."""
        same = self._info is not None and self._info.status is info.status
        self._info = info
        wait = self._moved + _MOVE_S - time.monotonic()
        if same and not info.status.terminal and wait > 0:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(wait, self._post)
        else:
            self._post(stamp)

    def _post(self, stamp: Any = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._moved = time.monotonic()
        if self._info is not None:
            for name, (_, _, value) in _ITEMS.items():
                if (pv := self._pvs.get(name)) is not None:
                    pv.post(value(self._info), stamp or now())

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended: nothing changes any more."""
        return self._info is not None and self._info.status.terminal


_NAMES: Final = frozenset([*_ITEMS, "MSG:S", "BAD:NAMES:LONG", "BAD:REASONS:LONG"])


class JobResources:
    """The PVs of all jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: WeakValueDictionary[int, _JobResource] = WeakValueDictionary()

    def resolve(self, pvname: str, rest: str) -> Pv | None:
        """The PV of this name; `rest` is what follows JOB. None when there is none."""
        number, _, item = rest.partition(":")
        job_id = number_of(number)
        if job_id is None or item not in _NAMES or not self._context.index.has_job(job_id):
            return None
        resource = self._known.get(job_id)
        if resource is None:
            resource = self._known[job_id] = _JobResource(self._context, job_id)
        return resource.resolve(pvname, item)

    def changed(self, info: JobInfo, stamp: Any) -> None:
        """A job of this process has moved."""
        if (resource := self._known.get(info.id)) is not None:
            resource.show(info, stamp)

    def stored(self, job_id: int) -> None:
        """The row of a job has changed; perhaps it runs in another process."""
        resource = self._known.get(job_id)
        if resource is not None and not resource.ended and job_id not in self._ours():
            resource.read()

    def _ours(self) -> set[int]:
        jobs = self._context.service.jobs
        return {info.id for info in (jobs.current, *jobs.recent) if info is not None}


def _stamp(info: JobInfo) -> Any:
    return stamp_of(info.finished.timestamp()) if info.finished is not None else now()
