"""What a dataset is said to look like."""

from collections import Counter

import pytest

from r2d import data
from r2d.data import describe, triage
from r2d.models.sanity import SANITY
from r2d.recipes.settings import DataSettings


@pytest.fixture(scope="module")
def notes():
    settings = DataSettings(
        card="triage", train=400, validation=20, test=200, difficulty=0.6, seed=3, topics=6
    )
    return data.load("triage", settings)


def test_kinds_have_their_shares_and_an_example_each(notes):
    table = describe.kinds(notes).set_index("kind")
    assert list(table.index) == list(triage.KINDS)
    counts = Counter(record.kind for record in notes.test)
    assert table["test"].to_dict() == pytest.approx({k: n / 200 for k, n in counts.items()})
    assert table["train"].sum() == pytest.approx(1)
    by_question = {record.question: record for record in notes.train}
    for kind, row in table.iterrows():
        assert (by_question[row["question"]].kind, by_question[row["question"]].label) == (
            kind,
            row["label"],
        )


def test_who_counts_findings_misses_what_has_to_be_read(notes):
    """It is wrong in every denied, relative's and modified case, and in no other."""
    table = describe.kinds(notes).set_index("kind")
    missed = {"plain": 0, "negation": 1, "relative": 1, "modifier": 1, "two findings": 0}
    assert table["missed"].to_dict() == missed
    hard = table[table["missed"] == 1]
    assert (hard["counted"] != hard["label"]).all()
    both = [SANITY[row]([], notes.test) for row in ("rule-no-negation", "rule-no-modifiers")]
    wrong = sum(r.label not in pair for r, *pair in zip(notes.test, *both, strict=True))
    assert wrong == 0  # either rule row gets right what the other misses


def test_other_data_have_no_kinds(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text(
        "question,label,rationale\n" + "".join(f"q {i},{'ab'[i % 2]},r\n" for i in range(30))
    )
    other = data.load("mine", DataSettings(card="table", path=str(file), validation=5, test=5))
    assert describe.kinds(other).empty
