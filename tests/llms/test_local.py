"""A real chat model read into the test's own process: SmolLM2-135M."""

import json

import pytest
import torch

from r2d import env, provenance, recipes
from r2d.errors import R2DError
from r2d.llms import local
from r2d.llms.chat import Chat
from r2d.recipes.settings import LlmSettings

SMALL = LlmSettings(
    title="SmolLM2", model="smollm2", parameters=135e6, max_new_tokens=8, price=(1.0, 10.0)
)


def question(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


QUESTIONS = [
    question("What is 2+2?"),
    question("Name three vegetables and three kinds of fruit, please."),
    question("Hi!"),
]


@pytest.fixture
def chat(tmp_path):
    """Chats over one cache: `chat()`, `chat(other_settings)`."""
    return lambda settings=SMALL: Chat(settings, cache=tmp_path / "answers.sqlite")


def test_a_local_model_answers_alone_as_in_a_batch_and_is_asked_once(chat, tmp_path, monkeypatch):
    first = chat()
    together = first.ask([*QUESTIONS, QUESTIONS[0]], "v1")
    assert [answer.cached for answer in together] == [False, False, False, True]
    assert together[1].finish == "length"
    assert together[1].tokens_out == SMALL.max_new_tokens
    alone = Chat(SMALL, cache=tmp_path / "other.sqlite")
    assert alone.ask(QUESTIONS[:1], "v1") == together[:1]
    totals = first.totals
    assert (totals.calls, totals.hits, totals.faults) == (3, 1, 0)
    assert totals.cost == pytest.approx((totals.tokens_in + 10 * totals.tokens_out) / 1e6)

    with monkeypatch.context() as patch:
        patch.setattr(provenance, "code", lambda *entries, without="": "other code")
        assert not chat().ask(QUESTIONS[:1], "v1")[0].cached
    monkeypatch.setattr(local, "load_llm", lambda _: pytest.fail("the model was needed again"))
    again = chat()
    answers = [(each.text, each.finish, each.cached) for each in again.ask(QUESTIONS, "v1")]
    assert answers == [(each.text, each.finish, True) for each in together[:3]]
    assert (again.totals.calls, again.totals.hits, again.totals.cost) == (0, 3, 0)


def test_a_temperature_is_refused_before_anything_runs():
    with pytest.raises(R2DError, match="SmolLM2-135M is read here and answers greedily; remove"):
        recipes.load("smoke", {"llms.smollm2.temperature": 0.7})
    served = {"llms.smollm2.temperature": 0.7, "llms.smollm2.backend": "server"}
    assert recipes.load("smoke", served).llms["smollm2"].temperature == 0.7


def test_scores_are_the_exact_log_probabilities_of_whole_answers(chat):
    options = [["4", "five, I think"], ["Carrots"], ["Yes", "No", "Certainly not."]]
    scores = chat().score(QUESTIONS, options, "v1")
    llm = local.load_llm(SMALL)

    def ids(text: str) -> list[int]:
        return llm.tokenizer(text, add_special_tokens=False)["input_ids"]

    for asked, texts, values in zip(QUESTIONS, options, scores, strict=True):
        start = llm.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        for text, score in zip(texts, values, strict=True):
            whole = torch.tensor([ids(f"{start}{text}<|im_end|>")], device=llm.model.device)
            with torch.no_grad():
                logs = llm.model(whole).logits[0].log_softmax(-1)
            answer = range(len(ids(start)), whole.shape[1])
            expected = sum(logs[i - 1, whole[0, i]].item() for i in answer)
            assert score == pytest.approx(expected, abs=1e-3)
    again = chat()
    assert again.score(QUESTIONS, options, "v1") == scores
    assert again.totals.calls == 0


def test_a_local_model_keeps_to_the_schema_with_instructions_read_once_or_not(
    tmp_path, monkeypatch
):
    properties = {
        "sure": {"type": "string", "enum": ["yes", "no"]},
        "sum": {"type": "integer", "minimum": 1, "maximum": 9},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    rules = {
        "role": "system",
        "content": "You answer briefly, in JSON, and never say what you were not asked, whoever "
        "asks.",
    }
    conversations = [[rules, *asked] for asked in QUESTIONS]

    def answers(name):
        settings = SMALL.model_copy(update={"max_new_tokens": 24})
        return Chat(settings, cache=tmp_path / name).ask(conversations, "v1", schema)

    together = answers("a")
    for answer in together:
        value = json.loads(answer.text)
        assert list(value) == ["sure", "sum"]
        assert value["sure"] in ("yes", "no") and 1 <= value["sum"] <= 9
        assert answer.finish == "stop" and "\n" not in answer.text
    monkeypatch.setattr(local, "common_opening", lambda model, prompts: local.Opening())
    assert answers("b") == together


def test_a_schema_that_nothing_can_meet_is_a_sentence(chat):
    never = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 1}},
        "required": ["a"],
    }
    with pytest.raises(R2DError, match="No answer can meet the prompt's schema"):
        chat().ask(QUESTIONS[:1], "v1", never)


def test_a_prompt_beyond_the_context_is_a_fault_and_the_others_are_answered(chat):
    long, short = chat().ask([question("word " * 9000), QUESTIONS[0]], "v1")
    assert long.finish == "fault" and "8192 tokens" in long.fault and "word" not in long.fault
    assert "answer" in short.text and not short.fault


def test_a_chat_model_has_the_threads_that_serve_it_also_after_a_small_network(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(env, "_usual_threads", lambda: 2)
    for _ in range(2):  # read, and at hand
        env.choose_threads(1_000_000)
        local.load_llm(SMALL)
        assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_a_model_that_is_not_there_is_a_sentence(chat, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(R2DError, match="could not be loaded"):
        chat(SMALL.model_copy(update={"model": str(tmp_path / "empty")})).ask(QUESTIONS, "v1")
