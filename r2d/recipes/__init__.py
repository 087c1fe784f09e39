"""Recipes: one YAML a profile, read into frozen, validated settings."""

from r2d.recipes.recipe import Recipe, load, profiles, settings_of

__all__ = ["Recipe", "load", "profiles", "settings_of"]
