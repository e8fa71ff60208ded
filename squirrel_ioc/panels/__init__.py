"""What people see of the control PVs: panels for Phoebus and MEDM, and the PV reference.

The panels are made from the declarations of the PVs, so that their names cannot drift, and kept as files beside this
one. `python -m squirrel_ioc.panels` writes them anew, and the PV reference into `docs/pv-reference.md`.
"""

from __future__ import annotations

from squirrel_ioc.panels._make import PANELS, panel_files, write_panels
from squirrel_ioc.panels._parts import MAIN, MEDM_OPERATOR

__all__ = ["MAIN", "MEDM_OPERATOR", "PANELS", "panel_files", "write_panels"]
