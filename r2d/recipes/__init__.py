"""Recipes: one YAML a profile, read into frozen, validated settings."""

from r2d.recipes.overrides import parse_settings
from r2d.recipes.recipe import Recipe, load, profiles

__all__ = ["Recipe", "load", "parse_settings", "profiles"]
