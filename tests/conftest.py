"""Fixtures for all tests."""

from hypothesis import HealthCheck, settings

pytest_plugins = ("postgres",)

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")
