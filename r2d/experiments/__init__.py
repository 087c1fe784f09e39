"""Runs, the grid they make up, and the workflow that does them."""
