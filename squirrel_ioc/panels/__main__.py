"""`python -m squirrel_ioc.panels`, in a checkout: write the panels and the PV reference in the README anew."""

from __future__ import annotations

import sys
from pathlib import Path

from squirrel_ioc.panels import write_panels
from squirrel_ioc.panels.reference import insert

PACKAGE = Path(__file__).resolve().parent


def main() -> None:
    """Exits with a message when this is no checkout."""
    readme = PACKAGE.parents[1] / "README.md"
    if not readme.is_file():
        sys.exit(f"there is no {readme}: this is for a checkout")
    write_panels(PACKAGE)
    readme.write_text(insert(readme.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
