"""Every dataset as checked records, in splits that share no question."""

from r2d.data.dataset import Card, Dataset, Record, canonical, card, cards, check, content, load

__all__ = ["Card", "Dataset", "Record", "canonical", "card", "cards", "check", "content", "load"]
