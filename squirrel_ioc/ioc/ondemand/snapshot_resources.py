"""SNAP:<id>: what is known of a snapshot, what can be changed about it, and its commands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from squirrel_ioc.errors import RefusedError, StoreError
from squirrel_ioc.ioc.groups.results import iso_time
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.ioc.kinds.command import Command
from squirrel_ioc.ioc.kinds.parse import split_labels
from squirrel_ioc.ioc.kinds.pv import Pv, now, stamp_of
from squirrel_ioc.ioc.kinds.scalars import Binary, Double, Integer, String
from squirrel_ioc.ioc.ondemand.resource import SPEC, Context, Resource, number_of
from squirrel_ioc.ioc.ondemand.value_resources import make_value
from squirrel_ioc.ioc.protocol.client import current_client
from squirrel_ioc.jobs.snapshot import default_title
from squirrel_ioc.model.snapshot import Snapshot, SnapshotChange

__all__ = ["Restorer", "Snapshots", "Teller"]

log = logging.getLogger(__name__)


class Restorer(Protocol):
    """Who restores: `RestoreGroup`."""

    async def restore_snapshot(self, snapshot_id: int, command: Command) -> None:
        """As if the id had been written to RESTORE:ID; `command` reads 1 until it ends."""
        ...

    def refuse(self, reason: str) -> None:
        """Say that a restore was refused."""
        ...


class Teller(Protocol):
    """Who has SNAP:MSG: `SnapGroup`."""

    def tell(self, text: str) -> None:
        """Show this there."""
        ...


@dataclass(frozen=True)
class _Item:
    """A PV of a snapshot: how it is made, what it shows, and what writing it changes, where it can be written."""

    make: Callable[..., Pv]
    desc: str
    value: Callable[[Snapshot], Any]
    change: Callable[[Snapshot, Any], SnapshotChange] | None = None


def _text(length: int, *, lines: bool = False) -> Callable[..., Pv]:
    return partial(Text, max_length=length, lines=lines, writable=True)


_FLAG: Final = partial(Binary, states=("No", "Yes"), writable=True)
_SECONDS: Final = partial(Double, egu="s", precision=3)

_ITEMS: Final[Mapping[str, _Item]] = {
    "TITLE": _Item(
        _text(256),
        "Title; empty becomes the time",
        lambda s: s.title,
        lambda s, text: SnapshotChange(title=text.strip() or default_title(s.taken)),
    ),
    "COMMENT": _Item(
        _text(4096, lines=True), "Comment", lambda s: s.comment, lambda s, text: SnapshotChange(comment=text)
    ),
    "LABELS": _Item(
        _text(256),
        "Labels, comma separated",
        lambda s: ", ".join(s.labels),
        lambda s, text: SnapshotChange(labels=split_labels(text)),
    ),
    "TIME": _Item(String, "When it was taken", lambda s: iso_time(s.taken)),
    "EPOCH": _Item(_SECONDS, "When it was taken, UNIX time", lambda s: s.taken.timestamp()),
    "USER": _Item(String, "Who took it", lambda s: s.user),
    "HOST": _Item(String, "From which host", lambda s: s.host),
    "COUNT": _Item(Integer, "Values stored", lambda s: s.count),
    "MISSING": _Item(partial(Integer, alarm_above=0), "PVs without a value", lambda s: s.missing),
    "BYTES": _Item(partial(Double, egu="B"), "Size in the database", lambda s: s.size_bytes),
    "PROTECT": _Item(
        _FLAG,
        "Cannot be changed or deleted",
        lambda s: s.protected,
        lambda s, on: SnapshotChange(protected=bool(on)),
    ),
    "KEEP": _Item(_FLAG, "Never evicted", lambda s: s.kept, lambda s, on: SnapshotChange(kept=bool(on))),
    "REFERENCE": _Item(
        _FLAG, "Is the reference", lambda s: s.reference, lambda s, on: SnapshotChange(reference=bool(on))
    ),
}


class _SnapshotResource(Resource):
    """One snapshot. What it says is read when the first of its PVs is made, and followed as long as there is one."""

    def __init__(self, context: Context, snapshot_id: int, restorer: Restorer, teller: Teller) -> None:
        super().__init__(context)
        self.id = snapshot_id
        self.deleting = False
        self._restorer = restorer
        self._teller = teller
        self._pvs: WeakValueDictionary[str, Pv] = WeakValueDictionary()
        self._snapshot: Snapshot | None = None
        self._stale = True
        self._reading = False

    # Its PVs

    def resolve(self, pvname: str, item: str) -> Pv:
        """The PV of an item that there is."""
        if item.startswith("VAL:"):
            return make_value(self, self.id, pvname, item[4:])
        name = item.removesuffix(":S")
        pv = self._pvs.get(name)
        if pv is None:
            make = self._command if name in _COMMANDS else self._shown
            pv = self._pvs[name] = make(pvname.removesuffix(":S"), name)
        return pv if name == item else pv.twins[0]

    def _command(self, pvname: str, name: str) -> Pv:
        verb, desc, action = _COMMANDS[name]
        command = Command(
            pvname=pvname, group=self, pvspec=SPEC._replace(doc=desc), writable=True, states=("Done", verb)
        )
        command.action = partial(action, self, command)
        return command

    def _shown(self, pvname: str, name: str) -> Pv:
        item = _ITEMS[name]
        pv = item.make(pvname=pvname, group=self, pvspec=SPEC._replace(doc=item.desc))
        pv.twins = tuple(pv.make_twins())
        if item.change is not None:
            pv.on_put = partial(self._write, name, item.change)
        if self._snapshot is not None and not self._stale:
            pv.post(item.value(self._snapshot), stamp_of(self._snapshot.taken.timestamp()))
        else:
            for waiting in (pv, *pv.twins):
                self.wait_for(waiting)
            self.refresh()
        return pv

    # What it says

    def refresh(self) -> None:
        """It may have changed: read it again."""
        self._stale = True
        if not self._reading:
            self._reading = True
            self.context.tasks.start(self._read(), f"reading snapshot {self.id}")

    async def _read(self) -> None:
        try:
            while self._stale and self._pvs:
                self._stale = False
                async with self.context.reading:
                    snapshot = await self.context.service.store.snapshot(self.id)
                if snapshot is not None:
                    self._show(snapshot)
                else:
                    self._fail()
        except StoreError as error:
            self._stale = True
            log.warning("snapshot %d cannot be shown: %s", self.id, error)
            self._fail()
        except Exception:  # who waits must hear of it, whatever it is
            log.exception("snapshot %d cannot be shown", self.id)
            self._fail()
        finally:
            self._reading = False

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        stamp = now()
        for name, pv in list(self._pvs.items()):
            if name in _ITEMS:
                value = _ITEMS[name].value(snapshot)
                if pv.waiting is not None:
                    pv.post(value, stamp_of(snapshot.taken.timestamp()))
                elif not pv.same(pv.value, pv.fitted(value)):
                    pv.post(value, stamp)
                for fetched in (pv, *pv.twins):
                    self.context.fetched(fetched, good=True)

    def _fail(self) -> None:
        for pv in list(self._pvs.values()):
            for waiting in (pv, *pv.twins):
                if waiting.waiting is not None:
                    self.context.fetched(waiting, good=False)

    # Writes

    async def _write(self, name: str, change: Callable[[Snapshot, Any], SnapshotChange], value: Any) -> None:
        if self._snapshot is None:
            raise RefusedError(f"snapshot {self.id} is not known yet")
        changed = await self.context.service.store.update_snapshot(self.id, change(self._snapshot, value))
        self._show(changed)
        self._teller.tell(f"snapshot {self.id}: {name} written by {current_client()}")
        log.info("snapshot %d: %s written by %s", self.id, name, current_client())

    async def restore(self, command: Command) -> None:
        """By the rules of RESTORE."""
        await self._restorer.restore_snapshot(self.id, command)

    async def delete(self, command: Command) -> None:
        """Whoever waits is answered before the channels to this snapshot go."""
        store = self.context.service.store
        snapshot = await store.snapshot(self.id)
        if snapshot is None:
            raise RefusedError(f"snapshot {self.id} does not exist")
        if snapshot.protected:
            raise RefusedError(f"snapshot {self.id} is protected: unprotect it before deleting it")
        client = current_client()
        with command.busy():
            self.deleting = True
            try:
                await store.delete_snapshot(self.id)
                log.info("snapshot %d deleted by %s", self.id, client)
                self._teller.tell(f"snapshot {self.id} deleted by {client}")
            finally:
                self.deleting = False
                # Behind the answer.
                asyncio.get_running_loop().call_soon(self._gone)

    def _gone(self) -> None:
        if self.id not in self.context.index.snapshots:
            self.context.drop(self.context.database.made(lambda pv: pv.group is self))

    def refused(self, pv: Pv, reason: str) -> None:
        """RESTORE:MSG tells why a restore was refused, SNAP:MSG all else."""
        if pv is self._pvs.get("RESTORE"):
            self._restorer.refuse(reason)
        else:
            self._teller.tell(reason)


_Action = Callable[[_SnapshotResource, Command], Awaitable[None]]

_COMMANDS: Final[Mapping[str, tuple[str, str, _Action]]] = {
    "RESTORE": ("Restore", "Restore it, as RESTORE:ID does", _SnapshotResource.restore),
    "DELETE": ("Delete", "Delete it", _SnapshotResource.delete),
}


_NAMES: Final = frozenset([*_ITEMS, *_COMMANDS, *(f"{name}:S" for name in ("TITLE", "COMMENT", "LABELS"))])


class Snapshots:
    """The PVs of all snapshots."""

    def __init__(self, context: Context, restorer: Restorer, teller: Teller) -> None:
        self._context = context
        self._restorer = restorer
        self._teller = teller
        self._known: WeakValueDictionary[int, _SnapshotResource] = WeakValueDictionary()

    def resolve(self, pvname: str, rest: str) -> Pv | None:
        """The PV of this name; `rest` is what follows SNAP. None when there is none."""
        number, _, item = rest.partition(":")
        snapshot_id = number_of(number)
        index = self._context.index
        if snapshot_id is None or snapshot_id not in index.snapshots:
            return None
        if item not in _NAMES and not (item.startswith("VAL:") and index.has_value(snapshot_id, item[4:])):
            return None
        resource = self._known.get(snapshot_id)
        if resource is None:
            resource = _SnapshotResource(self._context, snapshot_id, self._restorer, self._teller)
            self._known[snapshot_id] = resource
        return resource.resolve(pvname, item)

    def changed(self, ids: Set[int]) -> None:
        """These have been added or changed."""
        for snapshot_id, resource in list(self._known.items()):
            if snapshot_id in ids:
                resource.refresh()

    def gone(self, ids: Set[int]) -> None:
        """These have been deleted: there are no such PVs any more, and clients are told so."""
        gone = {r for i in ids if (r := self._known.get(i)) is not None and not r.deleting}
        if gone:
            self._context.drop(self._context.database.made(lambda pv: pv.group in gone))
