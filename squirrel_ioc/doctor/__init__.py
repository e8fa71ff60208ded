"""`squirrel-ioc doctor`: what a service would need, looked at from outside, and in words what to do."""

from squirrel_ioc.doctor._examine import examine
from squirrel_ioc.doctor._finding import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
