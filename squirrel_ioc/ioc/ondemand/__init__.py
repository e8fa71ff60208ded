"""PVs that are made when somebody looks for them: SNAP:<id>:*, JOB:<id>:*, REF:<pv>, HIST:<pv>."""
