"""The figure of the method: the prompts that training uses, nothing clipped, equal bytes."""

from matplotlib.text import Text

from r2d.method import prompts
from r2d.reporting import method_figure


def test_it_shows_the_three_prompts_and_the_two_weights():
    texts = [text.get_text() for axis in method_figure.figure().axes for text in axis.texts]
    for prompt in (prompts.PREDICT, prompts.EXPLAIN, prompts.EXPLAIN_LABEL):
        assert prompt in texts
    assert {"loss × a(t)", "loss × (1 − a(t))", "1 − p(t)", "coin"} <= set(texts)


def test_no_text_is_clipped_or_covers_another():
    figure = method_figure.figure()
    figure.draw_without_rendering()
    (width, height), drawn = figure.get_size_inches(), figure.get_tightbbox()
    assert drawn.x0 >= -0.01 and drawn.y0 >= -0.01
    assert drawn.x1 <= width + 0.01 and drawn.y1 <= height + 0.01
    boxes = [
        text.get_window_extent().shrunk(0.98, 0.9)
        for axis in figure.axes
        for text in axis.texts
        if text.get_text()
    ]
    overlaps = [
        (one, other) for k, one in enumerate(boxes) for other in boxes[:k] if one.overlaps(other)
    ]
    assert not overlaps


def test_no_letter_is_smaller_than_seven_points():
    figure = method_figure.figure()
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert texts and all(text.get_fontsize() >= 7 for text in texts)


def test_equal_code_draws_equal_files(tmp_path):
    for name in ("first", "second"):
        assert method_figure.draw(tmp_path / name) == tmp_path / name / "method.png"
    for file in ("method.png", "method.pdf"):
        pair = [(tmp_path / name / file).read_bytes() for name in ("first", "second")]
        assert pair[0] == pair[1] and len(pair[0]) > 5000
