"""`squirrel-ioc doctor`: checks all that a service needs, and says what to do."""

from squirrel_ioc.doctor._examine import examine
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.doctor._worker import examine_worker

__all__ = ["Finding", "Verdict", "examine", "examine_worker"]
