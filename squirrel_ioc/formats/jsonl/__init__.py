"""JSON lines: our own files, which hold everything."""
