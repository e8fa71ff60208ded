"""`python -m squirrel_ioc.panels`, in a checkout: write the panels and the PV reference anew."""

from __future__ import annotations

from pathlib import Path

from squirrel_ioc.panels import write_panels
from squirrel_ioc.panels.reference import insert
from squirrel_ioc.resources import docs_dir

PACKAGE = Path(__file__).resolve().parent


def main() -> None:
    """Write both into the package."""
    write_panels(PACKAGE)
    reference = docs_dir() / "pv-reference.md"
    reference.write_text(insert(reference.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
