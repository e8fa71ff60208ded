"""The store: snapshots, the catalogue and the rows of jobs in PostgreSQL."""

from squirrel_ioc.store.catalogue import StoredCatalogue
from squirrel_ioc.store.embedded import EmbeddedServer
from squirrel_ioc.store.inspect import DatabaseReport, inspect
from squirrel_ioc.store.lease import Lease
from squirrel_ioc.store.store import Store
from squirrel_ioc.store.watch import RESYNC, DbStatus, StoreEvent

__all__ = [
    "Store",
    "StoredCatalogue",
    "DbStatus",
    "StoreEvent",
    "RESYNC",
    "EmbeddedServer",
    "Lease",
    "DatabaseReport",
    "inspect",
]
