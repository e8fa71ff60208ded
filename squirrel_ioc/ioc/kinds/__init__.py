"""The kinds of control PVs: their values, fields and alarms, how a group declares them, and where they are found."""
