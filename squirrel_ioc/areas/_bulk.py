"""Bulk reads and writes: the service's own share, and each area's by its workers, all at the same time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.areas._directory import Directory
from squirrel_ioc.areas._pack import frame_columns, pack, unpack, unpack_frame
from squirrel_ioc.areas._parts import Part
from squirrel_ioc.areas._remote import Answer, Remote
from squirrel_ioc.areas._split import HERE, Share, Shares, joined
from squirrel_ioc.ca import Machine
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import running_job
from squirrel_ioc.model.values import State, WriteState

__all__ = ["Abort", "Bulk", "Progress"]

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Abort = Callable[[], bool]


class Bulk:
    """See `Fleet`, whose methods these are."""

    def __init__(self, machine: Machine, shares: Shares, directory: Directory, remote: Remote) -> None:
        self._machine = machine
        self._shares = shares
        self._directory = directory
        self._remote = remote

    async def refresh(self, channels: ChannelList, abort: Abort | None) -> None:
        """As `Machine.refresh`."""
        known = self._shares.of(channels)
        progress = _Progress(known.size, None)
        async with asyncio.TaskGroup() as group:
            if len(known.here):
                group.create_task(self._machine.refresh(known.here_of(channels), abort=abort))
            for share in known.shares:
                group.create_task(self._ask(share, "refresh", {}, None, progress, abort))

    async def read(
        self, channels: ChannelList, timeout_s: float | None, progress: Progress | None, abort: Abort | None
    ) -> Frame:
        """As `Machine.read`."""
        known = self._shares.of(channels)
        if not known.shares:
            return await self._machine.read(channels, timeout_s=timeout_s, progress=progress, abort=abort)
        counter = _Progress(known.size, progress)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._machine.read(
                        known.here_of(channels), timeout_s=timeout_s, progress=counter.of(HERE), abort=abort
                    )
                )
            ]
            tasks += [
                group.create_task(self._read_area(share, channels, timeout_s, counter, abort)) for share in known.shares
            ]
        strange = [_not_held(channels, share) for share in known.shares]
        frames = [task.result() for task in tasks] + strange
        rows = [known.here, *(s.rows for s in known.shares), *(s.strange for s in known.shares)]
        return await asyncio.to_thread(joined, frames, rows, channels)

    async def _read_area(
        self, share: Share, channels: ChannelList, timeout_s: float | None, progress: _Progress, abort: Abort | None
    ) -> Frame:
        mine = _list_of(share, channels)
        answer = await self._ask(share, "read", {}, timeout_s, progress, abort)
        if answer.result is None:
            return Frame.empty(mine, State.NO_WORKER)
        try:
            frame = unpack_frame(await asyncio.to_thread(unpack, answer.result), mine)
        except StoreError as error:
            _log.error("area %s: %s", share.area.name, error)
            return Frame.empty(mine, State.NO_WORKER)
        if abort is None or not abort():
            # It was not we who stopped it.
            state = np.where(frame.state == State.NOT_READ, State.NO_WORKER, frame.state)
            frame = replace(frame, state=state.astype(np.uint8))
        return frame

    async def write(
        self,
        values: Frame,
        timeout_s: float | None,
        progress: Progress | None,
        abort: Abort | None,
        retry: bool,
        waiting: Callable[[str, int], None] | None,
    ) -> NDArray[np.uint8]:
        """As `Machine.write`; workers do not tell what they wait for."""
        known = self._shares.of(values.channels)
        if not known.shares:
            return await self._machine.write(
                values, timeout_s=timeout_s, progress=progress, abort=abort, retry=retry, waiting=waiting
            )
        counter = _Progress(known.size, progress)
        outcome = np.full(len(values), WriteState.DISCONNECTED, np.uint8)

        async def here() -> None:
            outcome[known.here] = await self._machine.write(
                values.take(known.here),
                timeout_s=timeout_s,
                progress=counter.of(HERE),
                abort=abort,
                retry=retry,
                waiting=waiting,
            )

        async def there(share: Share) -> None:
            outcome[share.rows] = await self._write_area(share, values, retry, timeout_s, counter, abort)

        async with asyncio.TaskGroup() as group:
            if len(known.here):
                group.create_task(here())
            for share in known.shares:
                group.create_task(there(share))
        outcome[values.state != State.VALUE] = WriteState.NOT_ISSUED
        return outcome

    async def _write_area(
        self,
        share: Share,
        values: Frame,
        retry: bool,
        timeout_s: float | None,
        progress: _Progress,
        abort: Abort | None,
    ) -> NDArray[np.uint8]:
        columns = await asyncio.to_thread(_written, share, values) | {"retry": np.array(retry)}
        answer = await self._ask(share, "write", columns, timeout_s, progress, abort)
        stopped = abort is not None and abort()
        if answer.result is None:
            unsent = WriteState.NOT_ISSUED if stopped else WriteState.NO_WORKER
            return np.full(len(share.rows), WriteState.LOST if answer.begun else unsent, np.uint8)
        done = _outcome(answer.result, share)
        # What was not sent although we did not stop it, the worker has left out.
        return done if stopped else np.where(done == WriteState.NOT_ISSUED, WriteState.NO_WORKER, done).astype(np.uint8)

    async def _ask(
        self,
        share: Share,
        kind: str,
        columns: Mapping[str, NDArray[Any]],
        timeout_s: float | None,
        progress: _Progress,
        abort: Abort | None,
    ) -> Answer:
        area = share.area
        if not len(share.rows):
            return Answer(None, False, "none of the channels is known there")
        if not self._directory.count(area.name):
            return Answer(None, False, "it has no worker")
        places = {} if share.places is None else {"rows": share.places}
        job = {"job": np.array(running_job.get())}  # for the worker's log
        body = await asyncio.to_thread(pack, {**columns, **places, **job})
        part = Part(uuid4(), area.name, kind, area.version, body, timeout_s)
        tell = progress.of(area.name)

        def done(rows: int) -> None:
            tell(rows, len(share.rows))

        answer = await self._remote.ask(part, done, abort or _never)
        # Another worker may be well. Reading twice does no harm; what may have been written is not written again.
        may_again = answer.result is None and (kind != "write" or not answer.begun)
        if may_again and self._directory.others(area.name, answer.worker) and not (abort is not None and abort()):
            answer = await self._remote.ask(replace(part, id=uuid4()), done, abort or _never)
        return answer


class _Progress:
    """What the parts have done, together."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done: dict[str, int] = {}

    def of(self, part: str) -> Progress:
        """For one of them to call."""

        def tell(done: int, _of: int) -> None:
            if self._progress is not None:
                self._done[part] = done
                self._progress(sum(self._done.values()), self._total)

        return tell


def _list_of(share: Share, channels: ChannelList) -> ChannelList:
    """The channels of a share, in its order."""
    return ChannelList(tuple(channels.array[share.rows].tolist()), channels.ids[share.rows], len(share.rows))


def _written(share: Share, values: Frame) -> dict[str, NDArray[Any]]:
    """What a worker is to write."""
    return frame_columns(values.reordered(share.rows, _list_of(share, values.channels)))


def _not_held(channels: ChannelList, share: Share) -> Frame:
    return Frame.empty(channels.take(share.strange), State.DISCONNECTED)


def _outcome(result: bytes, share: Share) -> NDArray[np.uint8]:
    """What a worker has answered to a write. Who does not understand it does not know what was written."""
    try:
        done = unpack(result).get("outcome")
    except StoreError:
        done = None
    if done is None or done.shape != share.rows.shape or done.dtype != np.uint8:
        _log.error("area %s: what a worker has answered to a write does not fit", share.area.name)
        return np.full(len(share.rows), WriteState.LOST, np.uint8)
    return done


def _never() -> bool:
    return False
