"""The control PVs: a Channel Access server on caproto. The only place that knows caproto."""

from squirrel_ioc.ioc._service import Service
from squirrel_ioc.ioc.server import ControlIoc

__all__ = ["ControlIoc", "Service"]
