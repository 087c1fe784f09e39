"""Every dataset as checked records, in splits that share no question."""

from r2d.data.card import Card, card_names, load_card
from r2d.data.dataset import Dataset, check
from r2d.data.loader import content, load
from r2d.data.record import Record, canonical

__all__ = [
    "Card",
    "Dataset",
    "Record",
    "canonical",
    "card_names",
    "check",
    "content",
    "load",
    "load_card",
]
