"""Backbones: loaded, tuned in full or by adapters, and decoded from."""
