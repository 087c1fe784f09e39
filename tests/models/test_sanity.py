"""Sanity rows: what they answer."""

from r2d.data.record import Record
from r2d.models.sanity import SANITY

TRAIN = [
    Record("1", "fever and cough", "see", "r"),
    Record("2", "chest pain", "call", "r"),
    Record("3", "cough for a week", "see", "r"),
]
TEST = [Record("4", "chest pain since noon", "call", "r"), Record("5", "a cough", "call", "r")]


def test_the_majority_row_answers_the_most_frequent_training_label():
    assert SANITY["majority"](TRAIN, TEST, 0) == ["see", "see"]


def test_the_bag_of_words_row_answers_by_the_words():
    assert SANITY["tfidf"](TRAIN, TEST, 0) == ["call", "see"]
