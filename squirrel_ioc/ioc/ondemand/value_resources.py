"""SNAP:<id>:VAL:<pv> and REF:<pv>: stored values."""

from __future__ import annotations

import asyncio
import logging
from typing import Final
from weakref import WeakValueDictionary

from squirrel_ioc.errors import StoreError
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.ondemand.resource import SPEC, Context, Resource
from squirrel_ioc.ioc.ondemand.stored_pv import Stored, StoredPv
from squirrel_ioc.ioc.ondemand.value_loader import Loaded
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.values import NO_META, Meta

__all__ = ["ReferenceValues", "make_value"]

_NO_REFERENCE: Final = Stored(NO_META, "there is no reference snapshot")

_RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


def make_value(owner: Resource, snapshot_id: int, pvname: str, name: str) -> Pv:
    """The PV of a value that a snapshot has. It is found at once, and shown when it has been fetched."""
    pv = StoredPv(pvname=pvname, group=owner, pvspec=SPEC)

    def done(loaded: Loaded) -> None:
        good = isinstance(loaded, Stored)
        if isinstance(loaded, Stored):
            pv.show(loaded, _desc("Snapshot", snapshot_id, loaded))
        owner.context.fetched(pv, good)

    owner.context.loader.load(snapshot_id, name, done)
    return owner.wait_for(pv)


def _desc(what: str, snapshot_id: int, stored: Stored) -> str:
    return f"{what} {snapshot_id}: {stored.reason}" if stored.reason else f"{what} {snapshot_id}"


class ReferenceValues(Resource):
    """REF:<pv>, for the PVs of the catalogue and of the reference snapshot.

    A PV that the reference has no value of, or all of them while there is no reference, is in alarm UDF/INVALID, and
    `.DESC` says why; its type is that of the machine's PV. When the reference changes, clients get the new value.
    Should its type be another one, or its array longer, they are disconnected, and connect again to what it is now.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pvs: WeakValueDictionary[str, StoredPv] = WeakValueDictionary()
        self._retrying = False

    def resolve(self, pvname: str, name: str) -> Pv | None:
        """The PV of this name; None when there is none."""
        index = self.context.index
        reference = index.reference
        stored = bool(reference) and index.has_value(reference, name)
        if not stored and name not in self.context.service.catalogue().channels.index:
            return None
        pv = self._pvs[name] = StoredPv(pvname=pvname, group=self, pvspec=SPEC)
        self.wait_for(pv)
        self._load(pv, name)
        return pv

    def follow(self) -> None:
        """Another snapshot has become the reference, or none is."""
        for name, pv in list(self._pvs.items()):
            self._load(pv, name)

    def _load(self, pv: StoredPv, name: str) -> None:
        reference = self.context.index.reference

        def done(loaded: Loaded) -> None:
            if reference == self.context.index.reference:  # else another load is under way
                self._show(pv, name, reference, loaded)

        if reference:
            self.context.loader.load(reference, name, done)
        else:
            self._show(pv, name, 0, _NO_REFERENCE)

    async def _retry(self) -> None:
        await asyncio.sleep(_RETRY_S)
        self._retrying = False
        self.follow()

    def _live_meta(self, name: str) -> Meta:
        """What the machine's PV is like: most probably the next reference has such a value of it."""
        live = self.context.service.machine.live(ChannelList.of([name]))
        return live.metas[int(live.meta[0])]

    def _show(self, pv: StoredPv, name: str, reference: int, loaded: Loaded) -> None:
        if isinstance(loaded, StoreError):
            if pv.waiting is not None:
                self.context.fetched(pv, good=False)
            elif not self._retrying:
                self._retrying = True
                self.context.tasks.start(self._retry(), "values of the reference")
            return
        stored = loaded if loaded is not None else Stored(NO_META, "not in it")
        if pv.waiting is not None and stored.reason and stored.meta is NO_META:
            stored = Stored(self._live_meta(name), stored.reason)
        if pv.waiting is None and not pv.fits(stored):
            log.info("%s has another type now: its clients connect again", pv.pvname)
            self.context.drop([pv])
            return
        pv.show(stored, _desc("Reference", reference, stored) if reference else "No reference snapshot")
        if pv.waiting is not None:
            self.context.fetched(pv, good=True)
