"""The store as the rest of the program sees it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.inventory import Edit, Summary
from squirrel_ioc.model.job import JobInfo, JobKind
from squirrel_ioc.model.reach import Reach
from squirrel_ioc.model.snapshot import History, NewSnapshot, Snapshot, SnapshotChange, SnapshotFilter
from squirrel_ioc.resources import migrations_dir
from squirrel_ioc.store._threads import in_thread
from squirrel_ioc.store.backups import Backups
from squirrel_ioc.store.catalogue import Catalogues, StoredCatalogue
from squirrel_ioc.store.database import Connection, Database, Target
from squirrel_ioc.store.embedded import EmbeddedServer
from squirrel_ioc.store.events import DbStatus, StoreEvent
from squirrel_ioc.store.jobs import JobRows
from squirrel_ioc.store.keys import Keys
from squirrel_ioc.store.lease import Lease, active_service
from squirrel_ioc.store.lists import ChannelLists
from squirrel_ioc.store.metas import Metas
from squirrel_ioc.store.migrations import pending, prepare, read_migrations
from squirrel_ioc.store.reach import ReachWatch
from squirrel_ioc.store.snapshots import Snapshots
from squirrel_ioc.store.transfer import Transfer
from squirrel_ioc.store.watch import Watch

__all__ = ["Store"]

_GET_SETTING = "SELECT value FROM setting WHERE key = $1"
_LOCK_SETTING = "SELECT pg_advisory_xact_lock(hashtext($1))"
_SET_SETTING = """
INSERT INTO setting (key, value) VALUES ($1, $2::jsonb)
ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE setting.value <> excluded.value
"""


class Store:
    """Everything that is kept. Made by `open`. `keys` tells what there is, without what is in it; `transfer` is for
    many snapshots as one, `backups` for what undoing a restore needs.

    Every method raises DatabaseDownError when the database does not answer within `connect_timeout_s` or
    `command_timeout_s` of the settings, or at once when it is known to be away; also when it is read-only, full, or
    locked by somebody. It raises StoreError when it refuses what was asked. Both say what was being done.
    """

    def __init__(
        self, database: Database, watch: Watch, embedded: EmbeddedServer | None, lease: Lease | None = None
    ) -> None:
        self.lease: Final = lease
        """Of one of two services that share the database; who works alone has none."""
        self._database = database
        self._watch = watch
        self._embedded = embedded
        self._lists, self._metas = lists, metas = ChannelLists(), Metas()
        self._snapshots = Snapshots(database, lists, metas)
        self._catalogues = Catalogues(database, lists)
        self._jobs = JobRows(database)
        self.keys: Final = Keys(database, lists)
        self.backups: Final = Backups(database)
        self.transfer: Final = Transfer(database, lists, metas, self._catalogues)
        database.on_down = watch.hurry
        database.on_disk = watch.disk_trouble
        watch.on_silent = database.cut
        database.trouble = lambda: "" if watch.status.connected else watch.status.message
        database.write_trouble = lambda: "" if watch.status.writable else watch.status.message
        watch.on_other_timeline = self._forget
        if lease is not None:
            database.acts = self.acts
            database.fence = lease.fence
            lease.may_take = lambda: watch.status.connected

    @classmethod
    async def open(
        cls,
        settings: DatabaseSettings,
        state_dir: Path,
        *,
        wait: bool = False,
        exclusive: bool = True,
        standby: bool = False,
    ) -> Store:
        """Connect, and bring the schema up to date. Without a dsn, a server with its data in `state_dir` is started.

        `wait` tries until the server answers, with growing pauses up to 10 s. `exclusive` is the service's way: only
        one process may have a database so, and only it changes the schema. Commands that look at the data pass False,
        and can do so while the service runs. `standby` shares the database with another service that has it too:
        `lease` tells which of them may change anything, and only a first one changes the schema.

        Raises DatabaseDownError when the server does not answer (naming host, port and database, never the password);
        StoreError when the login or the database is wrong, when another service runs on it, when its schema is newer
        than this program, or (not exclusive) older.
        """
        embedded = EmbeddedServer(state_dir) if settings.dsn is None else None
        if embedded is not None and not exclusive and not embedded.exists:
            raise StoreError(f"there is no database in {state_dir} yet: start the service first")
        target = Target(settings, embedded)
        watch = Watch(target, exclusive, None if embedded is None else embedded.ensure_running, shared=standby)
        database = None
        lease = Lease(target) if standby else None
        try:
            if embedded is not None:
                await in_thread(embedded.start, embedded.give_up)
            connection = await (target.connect_waiting() if wait else target.connect())
            await watch.claim(connection)
            await prepare(
                connection, target.description, exclusive and not (standby and await active_service(connection))
            )
            database = await Database.open(target, settings)
            await watch.start()
        except BaseException:
            await watch.stop()
            if database is not None:
                await database.close()
            if embedded is not None:
                await in_thread(embedded.stop)
            raise
        return cls(database, watch, embedded, lease)

    async def close(self) -> None:
        """Close the connections; the embedded server is stopped by the last process that uses it."""
        if self.lease is not None:
            await self.lease.close()
        await self._watch.stop()
        await self._database.close()
        if self._embedded is not None:
            await in_thread(self._embedded.stop)

    def _forget(self) -> None:
        self._lists.forget()
        self._metas.forget()

    async def check_schema(self) -> None:
        """Raises StoreError when the schema is not that of this program: somebody may have changed it meanwhile."""
        async with self.connection() as connection:
            if missing := await pending(connection, read_migrations(migrations_dir())):
                raise StoreError(f"the database lacks migration {missing[0]}: start the service again")

    def acts(self) -> bool:
        """Whether this service may act on the outside, now; from any thread. One that works alone always may."""
        return self.lease is None or self.lease.held

    def reach_watch(self, prefer_s: float, reach: Callable[[], Reach]) -> ReachWatch | None:
        """What tells the other one of two services how much of the machine this one reaches; None for one alone."""
        return None if self.lease is None else ReachWatch(self._database, self.lease, prefer_s, reach)

    @property
    def pool(self) -> asyncpg.Pool:
        """The pool itself. Its errors are asyncpg's."""
        return self._database.pool

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection from the pool, its errors translated."""
        return self._database.connection("using the database")

    def own_connection(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A connection beside the pool, its errors translated, closed at the end of the block."""
        return self._database.own_connection("the job queue")

    def transaction(self, doing: str = "using the database") -> AbstractAsyncContextManager[Connection]:
        """A connection from the pool in a transaction, which is committed at the end of the block; errors say `doing`
        what."""
        return self._database.transaction(doing)

    @property
    def status(self) -> DbStatus:
        """How the database is; checked every 2 s, and at once after an error."""
        return self._watch.status

    async def answers(self, within_s: float) -> bool:
        """Whether the database is there, or comes back in this time."""
        return await self._watch.answers(within_s)

    def listen_status(self, callback: Callable[[DbStatus], None]) -> Callable[[], None]:
        """Call back, in the event loop, when the database goes or comes back; returns what ends it."""
        return self._watch.on_status.add(callback)

    def listen(self, callback: Callable[[StoreEvent], None]) -> Callable[[], None]:
        """Call back, in the event loop, on each committed change by any process; returns what ends it.

        After the database was away, one event of kind RESYNC says that changes may have been missed.
        """
        return self._watch.on_event.add(callback)

    async def save_catalogue(self, entries: Sequence[Entry]) -> Catalogue:
        """Make these entries the catalogue, in one transaction; the same entries again change nothing.

        What is not among them is retired: old snapshots keep its values, and it can come back. This is a change by
        hand, see `squirrel_ioc.model.inventory`.
        """
        stored, _ = await self.change_catalogue(lambda inventory, _: inventory.replaced(entries))
        return stored.catalogue

    async def load_catalogue(self) -> Catalogue:
        """The catalogue in force; empty, of version 0, when there has never been one."""
        return (await self._catalogues.load()).catalogue

    async def load_inventory(self) -> StoredCatalogue:
        """The catalogue in force, and where its entries come from."""
        return await self._catalogues.load()

    async def change_catalogue(
        self, edit: Edit, *, made_by: str = "", names: Collection[str] = ()
    ) -> tuple[StoredCatalogue, Summary]:
        """Change the catalogue in one transaction; what comes of it, and what has changed.

        No other process changes it meanwhile. `edit` runs in a thread; it is also given the entries of those `names`
        that were in the catalogue once. Whatever it raises leaves everything as it was; so does what changes nothing.
        """
        return await self._catalogues.change(edit, made_by, names)

    async def save_snapshot(
        self,
        frame: Frame,
        new: NewSnapshot,
        *,
        also_do: Callable[[Connection, Snapshot], Awaitable[None]] | None = None,
    ) -> Snapshot:
        """Store a frame, whole, in one transaction; `also_do` runs in that transaction.

        When `new.job_id` has a snapshot already, that one is returned and nothing is stored.
        """
        return await self._snapshots.save(frame, new, also_do)

    async def snapshot(self, snapshot_id: int) -> Snapshot | None:
        """One snapshot, without its values."""
        return await self._snapshots.get(snapshot_id)

    async def snapshot_of_job(self, job_id: int) -> Snapshot | None:
        """The snapshot that a job stored: its result, or a restore's backup."""
        return await self._snapshots.of_job(job_id)

    async def reference(self) -> Snapshot | None:
        """The reference snapshot."""
        return await self._snapshots.reference()

    async def snapshots(self, wanted: SnapshotFilter | None = None) -> tuple[list[Snapshot], int]:
        """One page of snapshots, newest first, and how many there are on all pages."""
        return await self._snapshots.page(wanted or SnapshotFilter())

    async def load_frame(self, snapshot_id: int, names: Collection[str] | None = None) -> Frame:
        """The values of a snapshot, or those of `names` in the order they are stored; it skips names it has not.

        The channels are the very object that was saved, or the catalogue's, as long as somebody holds it.
        Raises StoreError when there is no such snapshot.
        """
        return await self._snapshots.load_frame(snapshot_id, names)

    async def history(self, name: str, limit: int = 1000, wanted: SnapshotFilter | None = None) -> History:
        """A channel across the newest `limit` snapshots that hold it; empty for a channel never seen.

        Only of `wanted` snapshots, where given; its page and size do not matter.
        """
        return await self._snapshots.history(name, limit, wanted or SnapshotFilter())

    async def update_snapshot(self, snapshot_id: int, change: SnapshotChange) -> Snapshot:
        """Change what stands beside the values. Making it the reference takes that from the one that was.

        Raises RefusedError when it does not exist, or when it (or the reference so far) is protected.
        """
        return await self._snapshots.update(snapshot_id, change)

    async def delete_snapshot(self, snapshot_id: int) -> None:
        """Delete a snapshot. Raises RefusedError when it does not exist or is protected."""
        await self._snapshots.delete(snapshot_id)

    async def create_job(
        self,
        connection: Connection | None,
        kind: JobKind,
        request: Mapping[str, Any],
        *,
        title: str,
        user: str,
        host: str,
        created: datetime | None = None,
    ) -> int:
        """The row of a new, pending job, inside the transaction of `connection` if given; returns its id."""
        return await self._jobs.create(connection, kind, request, title, user, host, created)

    async def update_job(self, info: JobInfo, connection: Connection | None = None) -> bool:
        """Store how a job stands. The end of a job is final: False, and nothing changed, when it has ended before.

        Raises StoreError when there is no such job.
        """
        return await self._jobs.update(info, connection)

    async def note_job(self, job_id: int, total: int, result: Mapping[str, Any], connection: Connection) -> None:
        """Store what a running job has come to so far, in the transaction of `connection`."""
        await self._jobs.note(job_id, total, result, connection)

    async def job(self, job_id: int) -> JobInfo | None:
        """One job."""
        return await self._jobs.get(job_id)

    async def job_request(self, job_id: int) -> dict[str, Any]:
        """What was asked, as given to `create_job`. Raises StoreError when there is no such job."""
        return await self._jobs.request(job_id)

    async def recent_jobs(self, count: int = 50) -> list[JobInfo]:
        """The last jobs, newest first."""
        return await self._jobs.recent(count)

    async def unfinished_jobs(self) -> list[JobInfo]:
        """Jobs that have not ended, oldest first."""
        return await self._jobs.unfinished()

    async def get_setting(self, key: str, default: Any = None) -> Any:
        """A small thing kept across restarts; `default` when there is none."""
        async with self._database.connection(f"reading setting {key}") as connection:
            text = await connection.fetchval(_GET_SETTING, key)
        return default if text is None else json.loads(text)

    async def set_setting(self, key: str, value: Any) -> None:
        """Keep anything that fits in JSON. Raises StoreError when it does not."""
        await self.change_setting(key, lambda _: value)

    async def change_setting(self, key: str, edit: Callable[[Any], Any]) -> Any:
        """Keep what `edit` makes of the value so far, None when there is none; returns it. Changes wait for each other.

        Raises StoreError when it does not fit in JSON, and whatever `edit` raises; nothing is changed then.
        """
        async with self._database.transaction(f"storing setting {key}") as connection:
            await connection.execute(_LOCK_SETTING, key)
            kept = await connection.fetchval(_GET_SETTING, key)
            value = edit(None if kept is None else json.loads(kept))
            try:
                text = json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as exc:
                raise StoreError(f"setting {key} does not fit in JSON: {exc}") from exc
            await connection.execute(_SET_SETTING, key, text)
        return value
