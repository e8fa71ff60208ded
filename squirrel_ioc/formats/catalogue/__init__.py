"""Catalogues: our own, as CSV and YAML, and the CSV of squirrel-backend."""
