"""Areas: parts of the catalogue that workers, other processes on this or other machines, read and write."""

from squirrel_ioc.areas.fleet import Fleet, no_areas
from squirrel_ioc.areas.report import AreaReport, area_channels, area_reports, channels_here, twice
from squirrel_ioc.areas.worker import Worker

__all__ = ["AreaReport", "Fleet", "Worker", "area_channels", "area_reports", "channels_here", "no_areas", "twice"]
