"""squirrel-ioc: snapshot and restore of EPICS machines, driven over Channel Access."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("squirrel-ioc")
