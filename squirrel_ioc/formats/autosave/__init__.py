"""Request and save files of autosave."""
