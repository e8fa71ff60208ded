"""What the Channel Access engine needs to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["CaSettings"]


class CaSettings(Protocol):
    """The part of the settings that concerns Channel Access; times in seconds."""

    @property
    def connect_timeout_s(self) -> float:
        """To wait for channels to connect."""

    @property
    def timeout_s(self) -> float:
        """To wait for the values of a bulk read."""

    @property
    def put_timeout_s(self) -> float:
        """To wait for the completion of a write."""

    @property
    def max_in_flight_per_ioc(self) -> int:
        """Requests under way to one IOC."""

    @property
    def slow_s(self) -> float:
        """An IOC is slow when its part of the last bulk read took longer."""

    @property
    def open_s(self) -> float:
        """An IOC with timeouts is open when it has answered nothing, not even a probe, for so long."""

    @property
    def retry_s(self) -> float:
        """For the second round of a bulk read; 0: no second round, in reading and in writing."""

    def environment(self) -> Mapping[str, str]:
        """The EPICS_CA_* variables that say where to search."""
