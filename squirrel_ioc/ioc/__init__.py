"""The control PVs: a Channel Access server on caproto. The only place that knows caproto."""

from squirrel_ioc.ioc.server import ControlIoc
from squirrel_ioc.ioc.service import Service

__all__ = ["ControlIoc", "Service"]
