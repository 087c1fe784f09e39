"""The form of a notebook answers what is typed into it."""

from r2d.deploy import demo


def test_the_form_answers_with_every_label_and_escapes_what_is_typed(model):
    page = demo.page(model, "<script>chest pain</script>", abstain_below=1.0)
    assert all(label in page for label in model.labels)
    assert "<script>" not in page and "leave this case to a person" in page
    text, button, answer = demo.form(model).children
    button.click()
    assert "is empty" in answer.value
    text.value = "sore throat"
    button.click()
    assert model.predict(["sore throat"], explain=False)[0].label in answer.value
