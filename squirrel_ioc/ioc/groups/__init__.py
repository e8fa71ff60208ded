"""The groups of control PVs, a module each: SNAP, RESTORE, DIFF, LIST and so on."""
