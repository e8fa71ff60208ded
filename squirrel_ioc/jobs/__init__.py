"""What the service does: jobs, and the queue that brings them."""

from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.jobs._queue_tables import queries as queue_queries
from squirrel_ioc.jobs.away import AwayList
from squirrel_ioc.jobs.catalogue import CatalogueChange, LiveCatalogue
from squirrel_ioc.jobs.queue import Jobs

__all__ = ["AwayList", "CatalogueChange", "Jobs", "LiveCatalogue", "Targets", "queue_queries"]
