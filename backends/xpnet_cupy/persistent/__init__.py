"""Scans of small steps as one kernel, whose blocks stay: see `plan` and `code`."""
