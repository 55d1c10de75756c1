"""In a notebook: a real Jupyter kernel runs cells, is interrupted, and completes names."""

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")
jupyter_client = pytest.importorskip("jupyter_client")

SETUP = """
import charrnn
text = "to be, or not to be, that is the question\\n" * 40
options = {"hidden_size": 8, "keep": "last", "preset": "tutorial"}
model = charrnn.train_text(text, steps=20, progress=False, **options)
"""


class Kernel:
    """A kernel that runs one cell at a time."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def start(self, code):
        return self.client.execute(code, store_history=True)

    def finish(self, number, until=lambda message: False):
        """The outputs of a cell, up to its end or a message."""
        outputs = []
        while True:
            message = self.client.get_iopub_msg(timeout=600)
            if message["parent_header"].get("msg_id") != number:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return outputs
            if kind in ("stream", "display_data", "execute_result", "error", "update_display_data"):
                outputs.append({"kind": kind, **content})
                if until(outputs[-1]):
                    return outputs

    def run(self, code):
        return self.finish(self.start(code))

    def answer(self, code):
        """What the last value of a cell looks like, by type of content."""
        (output,) = (output for output in self.run(code) if output["kind"] == "execute_result")
        return output["data"]

    def complete(self, code):
        number = self.client.complete(code, len(code))
        while True:
            reply = self.client.get_shell_msg(timeout=600)
            if reply["parent_header"].get("msg_id") == number:
                return reply["content"]["matches"]


@pytest.fixture(scope="module")
def kernel():
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3")
    kernel = Kernel(manager, client)
    assert not kernel.run(SETUP)
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_training_shows_a_bar(kernel):
    outputs = kernel.run("model = charrnn.train_text(text, epochs=30, **options)")
    (bar,) = (output for output in outputs if output["kind"] == "display_data")
    assert "application/vnd.jupyter.widget-view+json" in bar["data"]
    assert "0%|" in bar["data"]["text/plain"]
    assert not [output for output in outputs if output["kind"] in ("stream", "error")]
    assert not kernel.run("model = charrnn.train_text(text, epochs=3, progress=False, **options)")


def test_samples_are_printed_below_the_bar(kernel):
    outputs = kernel.run("model = charrnn.train_text(text, steps=40, sample_every=20, **options)")
    printed = "".join(output["text"] for output in outputs if output["kind"] == "stream")
    assert printed.startswith("--- after 20 steps, epoch 0.33:\n")
    assert "--- after 40 steps" in printed


def test_without_widgets_the_bar_is_text(kernel):
    forget = """
import sys
for name in [*sys.modules]:
    if name.split(".")[0] in ("ipywidgets", "tqdm"):
        del sys.modules[name]
"""
    hide = forget + "sys.modules['ipywidgets'] = None\n"
    outputs = kernel.run(hide + "model = charrnn.train_text(text, epochs=3, **options)")
    kernel.run(forget)
    printed = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert "100%|" in "".join(printed)
    assert not [output for output in outputs if output["kind"] == "error"]


def test_a_figure_is_the_picture(kernel):
    pytest.importorskip("matplotlib")
    train = "model = charrnn.train_text(text, epochs=3, progress=False, **options)\n"
    data = kernel.answer(train + "model.history.plot()")
    assert data["image/png"].startswith("iVBORw0KGgo")
    outputs = kernel.run("import matplotlib.pyplot as plt\nmodel.history.plot()")
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == 1


def test_what_is_shown_of_values_is_a_line(kernel):
    for code in ("model", "model.rnn", "model.history", "model.vocabulary", "model.network"):
        shown = kernel.answer(code)["text/plain"]
        assert "\n" not in shown
        assert len(shown) < 120
    pytest.importorskip("pandas")
    assert "<table" in kernel.answer("model.history.to_frame()")["text/html"]


def test_a_stopped_cell_leaves_its_model_where_the_message_says(kernel):
    train = (
        "charrnn.train_text(text, seconds=10_000, callback=lambda at: print(at.step), **options)"
    )
    number = kernel.start(f"model = None\nmodel = {train}")
    kernel.finish(number, until=lambda output: output["kind"] == "stream")  # until it trains
    kernel.manager.interrupt_kernel()
    (error,) = (output for output in kernel.finish(number) if output["kind"] == "error")
    assert error["ename"] == "TrainingInterrupted"
    advice = error["evalue"].rpartition("At a prompt or in a notebook: ")[2]
    assert advice == "import sys; model = sys.last_value.model"
    show = "\nprint(model.history.stop_reason, model.history.steps > 10, len(model.generate(20)))"
    outputs = kernel.run(advice + show)
    assert outputs[-1]["text"] == "interrupted True 20\n"
    assert error["evalue"].startswith("training was interrupted after step ")
    steps = kernel.answer("model.history.steps")["text/plain"]
    assert f"after step {steps};" in error["evalue"]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("charrnn.train_file('x', hidd", "hidden_size="),
        ("charrnn.train_text(text, validation_f", "validation_fraction="),
        ("model.generate(10, temp", "temperature="),
        ("model.train_text(text, patie", "patience="),
        ("model.stream(10, no_r", "no_repeat="),
    ],
)
def test_options_complete(kernel, code, name):
    assert name in kernel.complete(code)


def test_help_names_the_options(kernel):
    outputs = kernel.run("help(charrnn.train_file)")
    (page,) = (output for output in outputs if output["kind"] == "stream")
    assert "hidden_size: int = None" in page["text"]
