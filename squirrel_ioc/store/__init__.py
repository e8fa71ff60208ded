"""The store: snapshots, the catalogue and the rows of jobs in PostgreSQL."""

from squirrel_ioc.store.catalogue import StoredCatalogue
from squirrel_ioc.store.database import APPLICATION, Connection
from squirrel_ioc.store.embedded import EmbeddedServer
from squirrel_ioc.store.events import RESYNC, DbStatus, StoreEvent
from squirrel_ioc.store.inspect import DatabaseReport, inspect
from squirrel_ioc.store.lease import Lease, boot_clock
from squirrel_ioc.store.reach import ReachWatch
from squirrel_ioc.store.store import Store

__all__ = [
    "APPLICATION",
    "Connection",
    "Store",
    "StoredCatalogue",
    "DbStatus",
    "StoreEvent",
    "RESYNC",
    "EmbeddedServer",
    "Lease",
    "ReachWatch",
    "boot_clock",
    "DatabaseReport",
    "inspect",
]
