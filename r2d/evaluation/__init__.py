"""Measures of labels and rationales, and how sure they are."""
