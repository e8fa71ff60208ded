"""Configurations and snapshots of Phoebus save-and-restore, as CSV."""
