"""`squirrel-ioc doctor`: what a service would need, looked at from outside, and in words what to do."""

from squirrel_ioc.doctor._examine import examine
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.doctor._worker import examine_worker

__all__ = ["Finding", "Verdict", "examine", "examine_worker"]
