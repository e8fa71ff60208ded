"""squirrel-ioc: snapshot and restore of EPICS machines, driven over Channel Access."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Here, because it loads half of the library.
        from importlib.metadata import version

        return version("squirrel-ioc")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
