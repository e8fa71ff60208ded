"""The simulated machine: real EPICS IOCs with generated records, and their catalogue. For demo, bench and tests."""

from squirrel_ioc.sim._machine import SimulatedMachine, SimulationError
from squirrel_ioc.sim._ports import LOOPBACK, free_ports

__all__ = ["SimulatedMachine", "SimulationError", "free_ports", "LOOPBACK"]
