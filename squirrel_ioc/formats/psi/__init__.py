"""Request and saved files of PSI snapshot."""
