"""Request and snapshot files of BURT."""
