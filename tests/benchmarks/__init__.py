"""Timings against a straightforward implementation: see `README.md`."""
