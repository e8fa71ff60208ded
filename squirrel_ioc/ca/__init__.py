"""Channel Access: channels, bulk reads and writes, and what is known of the IOCs."""

from squirrel_ioc.ca._iocs import IocState, IocStatus
from squirrel_ioc.ca._live_state import Live
from squirrel_ioc.ca._settings import CaSettings
from squirrel_ioc.ca.machine import Machine

__all__ = ["CaSettings", "IocState", "IocStatus", "Live", "Machine"]
