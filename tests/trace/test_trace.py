"""What a trace shows is what the network does: to the bit, or as central differences have it."""

import io
import os
import re
import time
import warnings

import numpy as np
import pytest

import charrnn
import plain
import reference
from charrnn.data.vocabulary import Vocabulary
from charrnn.network import Network
from charrnn.network import dispatch as _dispatch
from charrnn.trace import Trace
from charrnn.util.seeding import make_random
from ctrl_c import CtrlC

TEXT = "to be, or not to be, that is the question\n" * 10


@pytest.fixture(scope="module")
def model():
    return plain.train_text(TEXT * 4, hidden_size=24, epochs=12, dtype="float64")


@pytest.fixture(scope="module")
def records():
    return plain.train_records(["anna", "hanna", "susanna"] * 20, hidden_size=16, epochs=60)


def stack(layers, dtype="float64", V=7, scale=0.6):
    """A network of layers with weights of a size at which gradients reach far, and its
    vocabulary.
    """
    network = Network(
        ([layer if isinstance(layer, tuple) else ("rnn", layer) for layer in layers], V), dtype
    )
    _dispatch.core.initialize(network, scale, make_random(3))
    return network, Vocabulary("abcdefghijklmnopqrstuvwxyz"[:V])


def traced(network, vocabulary, text, **options):
    return Trace(
        network,
        vocabulary,
        text,
        np.zeros(network.workspace(1, 1).state.shape[1], network.dtype),
        **options,
    )


def letters(n, V=7, seed=0):
    return "".join(
        "abcdefghijklmnopqrstuvwxyz"[i] for i in np.random.default_rng(seed).integers(0, V, n)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("V", [16, 17, 20, 100])
def test_the_likeliest_are_those_of_all_characters(kernels, V, dtype):
    """Whatever lanes they are in."""
    network, vocabulary = (
        stack([5], dtype, V=V, scale=3.0)[0],
        Vocabulary("".join(map(chr, range(200, 200 + V)))),
    )
    text = vocabulary.decode(range(V))
    trace, work = traced(network, vocabulary, text, top=4), network.workspace(1, 1)
    for i, id_ in enumerate(vocabulary.encode(text)):
        network.feed(work, np.array([[id_]]))
        probs = network.next_probs(work)[0]
        assert trace.next_ids[i].tolist() == np.argsort(-probs, kind="stable")[:4].tolist()
        np.testing.assert_array_equal(trace.next_probs[i], np.sort(probs)[::-1][:4])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 200])
def test_states_and_expectations_equal_forwards_to_the_bit(kernels, dtype, length):
    rnn = charrnn.RNN(33, 7, 25, 0.1, dtype=dtype, seed=1)
    _dispatch.core.initialize(rnn.network, 0.3, make_random(3))
    trace = traced(rnn.network, Vocabulary("abcdefg"), letters(length), top=7)
    _, hs, ps = rnn.forward(trace.vocabulary.encode(trace.text), np.zeros((33, 1)))
    (states,) = trace.states
    assert states.shape == (length, 33)
    for t in range(length):
        assert (states[t] == hs[t][:, 0]).all()
        assert sorted(trace.next_ids[t].tolist()) == list(range(7))
        assert (trace.next_probs[t] == ps[t][trace.next_ids[t], 0]).all()
        assert (np.diff(trace.next_probs[t]) <= 0).all()


def test_surprise_is_the_score_of_each_character_to_the_bit(model, records):
    trace = model.trace(TEXT)
    assert (trace.surprise == -model.log_probs(TEXT) / np.log(2)).all()
    assert trace.surprise.mean() == pytest.approx(model.score(TEXT))
    after = model.trace("question", context="the ")
    assert (after.surprise == -model.log_probs("question", context="the ") / np.log(2)).all()
    assert len(after) == 8
    record = records.trace("anna")
    assert (record.surprise == -records.log_probs("anna") / np.log(2)).all()
    assert len(record.surprise) == 5
    assert record.likeliest(3)[0][0] == ""  # the end


def test_of_equally_likely_symbols_the_first_come_first(kernels):
    network = Network(([("rnn", 3)], 40), "float32")
    trace = traced(network, Vocabulary(map(chr, range(40))), "\x01\x02", top=6)
    assert trace.next_ids.tolist() == [list(range(6))] * 2
    assert trace.next_probs == pytest.approx(1 / 40)


@pytest.mark.parametrize(
    "layers", [(9,), (17, 6), (5, 8, 16), (("gru", 9),), (("lstm", 7), ("gru", 5)), (("lstm", 20),)]
)
@pytest.mark.parametrize("back", [1, 4, 30])
def test_saliency_equals_central_differences(kernels, layers, back):
    network, vocabulary = stack(layers)
    trace = traced(network, vocabulary, letters(30))
    ids = vocabulary.encode(trace.text)
    oracles = reference.Stack(network.description, network.weights.views())
    for position in (1, 3, 17, 29):
        oracle = reference.saliency(
            oracles, ids[:position], ids[position], np.zeros((1, network.description.state_size))
        )
        found = trace.saliency(position, back)
        assert len(found) == min(back, position)
        assert found == pytest.approx(oracle[-back:], rel=1e-6, abs=1e-9)
    assert abs(oracle[:5]).max() > 1e-9  # they do reach so far


def test_saliency_of_several_targets_is_the_sum_of_those_of_each(kernels):
    network, _ = stack((9, 5))
    inputs, targets = (
        np.array([[1, 2], [3, 0], [6, 5], [2, 2]]),
        np.array([[4, -1], [-1, -1], [2, 3], [0, -1]]),
    )
    work = network.workspace(4, 2, training=True)
    total = np.zeros((4, 2))
    for place in np.argwhere(targets >= 0):
        one = np.full_like(targets, -1)
        one[tuple(place)] = targets[tuple(place)]
        total += _dispatch.core.saliency(work, inputs, one)
    assert _dispatch.core.saliency(work, inputs, targets) == pytest.approx(
        total, rel=1e-9, abs=1e-12
    )
    assert not _dispatch.core.saliency(work, inputs, np.full_like(targets, -1)).any()


def test_saliency_in_single_precision_is_correct_to_rounding(kernels):
    network, vocabulary = stack((20,), "float32", scale=0.4)
    trace = traced(network, vocabulary, letters(40))
    arrays = {name: array.astype(np.float64) for name, array in network.weights.views().items()}
    ids = vocabulary.encode(trace.text)
    oracle = reference.saliency(
        reference.Stack(network.description, arrays), ids[:39], ids[39], np.zeros((1, 20))
    )
    assert trace.saliency(39) == pytest.approx(oracle, rel=1e-3, abs=1e-5)


def test_saliency_is_the_same_bits_one_by_one_and_many_at_once(model):
    trace = model.trace(TEXT[:300])
    many = trace.saliencies(0, 300, 12)
    assert many.shape == (300, 12)
    for position in (0, 1, 11, 12, 13, 77, 299):
        one = trace.saliency(position, 12)
        assert (many[position, 12 - len(one) :] == one).all()
        assert not many[position, : 12 - len(one)].any()
    assert trace.saliency(0).shape == (0,)
    assert trace.saliency(20).shape == (20,)
    assert trace.saliencies(5, 5, 3).shape == (0, 3)
    assert trace.saliencies(5, 9, 0).shape == (4, 0)


def test_saliency_after_a_context_begins_in_its_state(model):
    whole, part = model.trace(TEXT[:40]), model.trace(TEXT[25:40], context=TEXT[:25])
    assert part.saliency(14) == pytest.approx(whole.saliency(39, 14), rel=1e-9)
    cut = whole[25:40]
    assert cut.text == part.text
    assert (cut.surprise == part.surprise).all()
    assert cut.saliency(14) == pytest.approx(part.saliency(14), rel=1e-9)


def test_saliency_of_the_end_of_a_record(records):
    trace = records.trace("susanna")
    assert trace.saliency(7).shape == (7,)
    with pytest.raises(ValueError, match="position must be from 0 to 7, not 8"):
        trace.saliency(8)


@pytest.mark.parametrize("context", ["", "n"])
def test_each_of_several_records_is_read_from_the_start(records, context):
    names = ["susanna", "", "anna", "hanna"]
    alone = [records.trace(name, context=context) for name in names]
    trace = records.trace(iter(names), context=context)
    assert trace.text == "susanna\n\nanna\nhanna"
    assert len(trace) == len(trace.text)
    assert (trace.surprise == np.concatenate([one.surprise for one in alone])).all()
    assert repr(trace).startswith("<trace of 4 records, 16 characters, 16 units: ")
    for start, one in zip((0, 8, 9, 14), alone, strict=True):
        stretch = slice(start, start + len(one))
        assert (trace.states[0][stretch] == one.states[0]).all()
        assert (trace.next_ids[stretch] == one.next_ids).all()
        assert (trace.next_probs[stretch] == one.next_probs).all()
        assert (trace.saliency(start + len(one)) == one.saliency(len(one))).all()
        assert trace[stretch].text == one.text
    for boundary in (7, 8, 13):  # what follows is what a record begins with
        p = records.next_probs(context)
        assert trace.likeliest(boundary)[0] == (records.vocabulary.decode([p.argmax()]), p.max())
        assert (trace.states[0][boundary] == trace.states[0][7]).all()
    for back in (0, 3, 40):
        several = [one.saliencies(0, len(one.surprise), back) for one in alone]
        assert (trace.saliencies(0, 20, back) == np.concatenate(several)).all()
        assert (trace[3:12].saliencies(6, 9, back) == alone[2].saliencies(0, 3, back)).all()


def test_states_of_layers_are_apart(kernels):
    network, vocabulary = stack((17, 6))
    trace = traced(network, vocabulary, letters(70))
    assert [states.shape for states in trace.states] == [(70, 17), (70, 6)]
    work = network.workspace(70, 1)
    network.feed(work, vocabulary.encode(trace.text)[:, None])
    assert (np.concatenate([states[-1] for states in trace.states]) == work.get_state()[0]).all()
    assert {(unit.layer, unit.number) for unit in trace.units()} == {(0, i) for i in range(17)} | {
        (1, i) for i in range(6)
    }


@pytest.mark.clock
@pytest.mark.skipif(os.name != "posix", reason="needs os.kill with SIGINT")
def test_ctrl_c_ends_a_trace_of_all_symbols_of_a_large_vocabulary():
    vocabulary, ctrl_c = Vocabulary("".join(map(chr, range(0x10000, 0x10000 + 50_000)))), CtrlC(0.3)
    network = Network(([("gru", 4)], len(vocabulary)), "float32")
    given = network, vocabulary, vocabulary.chars[:100], network.workspace(1, 1).state[0]
    with pytest.raises(KeyboardInterrupt):
        ctrl_c.during(lambda: Trace(*given, top=len(vocabulary)))  # half a minute
    assert ctrl_c.spent() < 0.5


@pytest.mark.clock
def test_a_million_characters_are_traced_in_two_seconds():
    rnn = charrnn.RNN(100, 65, 25, 0.1, seed=0)
    vocabulary = Vocabulary(map(chr, range(65)))
    text = vocabulary.decode(np.random.default_rng(0).integers(0, 65, 200_000))
    spent = []
    for _ in range(3):
        start = time.process_time()
        traced(rnn.network, vocabulary, text)
        spent.append(time.process_time() - start)
    assert min(spent) < (2 if charrnn.isa != "baseline" else 20) / 5


def test_units_come_by_what_they_follow(model):
    trace = model.trace(TEXT)
    units = trace.units()
    found = [abs(unit.correlation) for unit in units]
    assert found == sorted(found, reverse=True)
    best = units[0]
    states = trace.states[best.layer][:, best.number]
    assert best.correlation == pytest.approx(
        np.corrcoef(states, trace.properties[best.follows])[0, 1], abs=1e-9
    )
    assert trace.units({"itself": trace.states[0][:, 5]})[0][:3] == (0, 5, "itself")
    huge = trace.units({"huge": np.where(np.arange(len(TEXT)) % 2, 1e308, -1e308)})
    assert all(abs(unit.correlation) <= 1 for unit in huge)
    assert {unit.follows for unit in trace.units({})} == {""}


def test_of_a_property_and_its_opposite_the_first_counts_whatever_rounding_adds():
    """Which one it was depended on where arrays lie in memory."""
    network, vocabulary = stack([40])
    for n in range(50, 70):
        trace = traced(network, vocabulary, letters(n, seed=n))
        vowels = np.array([char in "ae" for char in trace.text])
        found = trace.units({"vowels": vowels, "others": ~vowels, "tripled": vowels * 3.0})
        assert {unit.follows for unit in found} == {"vowels"}


def test_a_recipe_of_the_documentation_has_a_unit_that_follows_something():
    names = "\n".join(charrnn.datasets.names())
    model = plain.train_text(names, epochs=40)
    best = model.trace(names).units()[0]
    assert best.follows == "position in the word"
    assert abs(best.correlation) > 0.7


def test_texts_of_any_kind(model, records):
    empty = model.trace("")
    assert (len(empty), empty.states[0].shape, len(empty.surprise), empty.next_ids.shape) == (
        0,
        (0, 24),
        0,
        (0, 5),
    )
    assert repr(empty) == "<trace of 0 characters, 24 units: no bits per character>"
    assert len(records.trace("").surprise) == 1
    assert len(model.trace("t").units()) == 24
    assert model.trace("to bé!", on_unknown="skip").text == "to b"
    octets = plain.train_text(b"\x00\xff<>" * 50, alphabet="bytes", hidden_size=8, steps=20)
    trace = octets.trace(b"\xff\x00<")
    assert trace.text == b"\xff\x00<"
    assert isinstance(trace.likeliest(0)[0][0], bytes)
    assert trace.units()


def test_a_vocabulary_of_all_characters_there_are():
    vocabulary = Vocabulary(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    network = Network(([("rnn", 4)], len(vocabulary)), "float32")
    trace = traced(network, vocabulary, "abab")
    assert trace.saliencies(0, 4, 3).shape == (4, 3)
    assert trace.likeliest(3)[0][0] == "\x00"
    assert len(trace.html()) < 100_000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.trace(b"to"), "text must be a str, not bytes"),
        (lambda model: model.trace(["to"]), "text must be a str, not list"),
        (lambda model: model.trace("to", top=0), "top must be from 1 to"),
        (lambda model: model.trace("to", top="5"), "top must be an integer, not '5'"),
        (lambda model: model.trace("tö"), r"text\[1\] = 'ö' \(U\+00F6\) is not among"),
        (
            lambda model: model.trace("to", on_unknown="surprise"),
            "on_unknown must be 'error' or 'skip'",
        ),
        (
            lambda model: model.trace("to", on_unknown=np.array([1, 2])),
            "on_unknown must be 'error' or 'skip'",
        ),
        (lambda model: model.trace("to").saliency(2), "position must be from 0 to 1, not 2"),
        (lambda model: model.trace("to").saliency(1, -1), "back must be from 0 to"),
        (lambda model: model.trace("to").saliencies(1, 3, 1), "stop must be from 0 to 2, not 3"),
        (lambda model: model.trace("to").likeliest(-1), "position must be from 0 to 1, not -1"),
        (
            lambda model: model.trace("to").units({"x": [1]}),
            r"properties\['x'\] must be numbers of shape \(2,\), not int64 of shape \(1,\)",
        ),
        (
            lambda model: model.trace("to").units({"x": [1, np.nan]}),
            r"properties\['x'\] must be finite",
        ),
        (
            lambda model: model.trace("to").units(["x"]),
            "properties must be a mapping, .*, not list",
        ),
        (lambda model: model.trace("to").plot(3), "start must be from 0 to 2, not 3"),
        (
            lambda model: model.trace("to").plot("to.png"),
            r"start must be an integer, not 'to.png': trace.plot\(\).savefig\(path\)",
        ),
        (lambda model: model.trace("to").plot(units=-1), "units must be from 0 to"),
        (
            lambda model: model.trace("to")[0],
            r"a trace is cut by a slice of consecutive characters: trace\[start:stop\]",
        ),
        (lambda model: model.trace("to")[::2], "a trace is cut by a slice"),
        (
            lambda model: model.trace("to").save_html(io.BytesIO()),
            r"path must be a str or path-like, not BytesIO: trace.html\(\)",
        ),
        (lambda model: model.trace("to").html(title=3), "title must be a str, not int"),
        (lambda model: model.trace("to").html(back=-1), "back must be from 0 to"),
        (
            lambda model: model.trace("to").html(parts="h"),
            r"parts must be a sequence of str, not one: parts=\['h'\]",
        ),
        (
            lambda model: model.trace("to").html(parts=["h", "c"]),
            "each of parts must be 'h', not 'c'",
        ),
        (lambda model: model.trace("to").plot(part="c"), "part must be 'h', not 'c'"),
    ],
)
def test_a_wrong_argument_is_named(model, call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "text must have at least one record"),
        (["anna", b"hanna"], r"text\[1\] must be a str, not bytes"),
        (["anna", "bob"], r"text\[1\]\[0\] = 'b' \(U\+0062\) is not among"),
        (None, "text must be a sequence of texts, not NoneType"),
        ({"anna"}, "text must be a sequence of texts, not set: sorted"),
    ],
)
def test_wrong_records_are_named(records, text, message):
    with pytest.raises((TypeError, ValueError), match=message):
        records.trace(text)


def test_weights_that_give_no_probabilities_are_an_error(kernels):
    network, vocabulary = stack((5,))
    trace = traced(network, vocabulary, "abc")
    network.weights.views()["Why"][...] = np.nan
    for call in (lambda: traced(network, vocabulary, "abc"), lambda: trace.saliency(2)):
        with pytest.raises(charrnn.DivergedError):
            call()


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [([[0]], [[9]]), ([[9]], [[0]]), ([[0, 0]], [[0]]), ([], []), (None, [[0]])],
)
def test_the_doors_check_what_they_are_given(kernels, inputs, targets):
    network, _ = stack((5,))
    for door in (
        lambda work: _dispatch.core.saliency(work, inputs, targets),
        lambda work: _dispatch.core.trace(work, inputs, targets, 3),
    ):
        with pytest.raises((IndexError, ValueError)):
            door(network.workspace(2, 1, training=True))
    for count in (0, 8):
        with pytest.raises(ValueError, match="count must be from 1 to 7"):
            _dispatch.core.trace(network.workspace(2, 1), [[0]], [[0]], count)
    with pytest.raises(ValueError, match="this workspace is not for training"):
        _dispatch.core.saliency(network.workspace(2, 1), [[0]], [[0]])


def test_plot_draws_itself(model):
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = model.trace(TEXT).plot(3, 40, units=4)
        assert figure._repr_png_().startswith(b"\x89PNG")
        surprise, units = figure.axes
        assert [bar.get_height() for bar in surprise.patches] == model.trace(TEXT).surprise[
            3:40
        ].tolist()
        assert [label.get_text() for label in units.get_xticklabels()][:4] == ["b", "e", ",", " "]
        assert len(units.get_yticklabels()) == 4
        (image,) = units.images
        best = model.trace(TEXT).units()[0]
        assert (
            np.asarray(image.get_array())[0] == model.trace(TEXT).states[0][3:40, best.number]
        ).all()
        for trace in (model.trace(""), model.trace("t")):
            assert trace.plot()._repr_png_()
        assert re.match(
            r"<figure of <trace of 420 characters.*>, characters 3 to 40; show\(\) opens it",
            repr(figure),
        )


def test_a_model_in_training_is_traced_as_it_was(model):
    trace = model.trace(TEXT[:50])
    before = trace.saliency(40)
    again = plain.train_text(TEXT, hidden_size=8, steps=5)
    old = again.trace(TEXT[:50])
    kept = old.saliency(40)
    again.train_text(TEXT, steps=50, progress=False)
    assert (old.saliency(40) == kept).all()
    assert (trace.saliency(40) == before).all()


def test_units_of_a_part_are_those_of_the_layers_that_have_it():
    network, vocabulary = stack((("lstm", 7), ("gru", 5), ("rnn", 3), ("lstm", 2)))
    trace = traced(network, vocabulary, letters(200))
    assert trace.part_names == tuple("hcifgonruq")
    for part, layers in {
        "h": {0: 7, 1: 5, 2: 3, 3: 2},
        "c": {0: 7, 3: 2},
        "f": {0: 7, 3: 2},
        "u": {1: 5},
        "q": {1: 5},
    }.items():
        units = trace.units(part=part)
        assert sorted((unit.layer, unit.number) for unit in units) == [
            (i, number) for i, size in layers.items() for number in range(size)
        ]
        for unit in units:
            values = trace.parts[unit.layer][unit.part][:, unit.number]
            assert unit.correlation == pytest.approx(
                np.corrcoef(values, trace.properties[unit.follows])[0, 1], abs=1e-9
            )
    assert trace.units({"itself": trace.parts[3]["f"][:, 1]}, part="f")[0] == (
        3,
        1,
        "itself",
        pytest.approx(1),
        "f",
    )
    with pytest.raises(ValueError, match=r"part must be 'h', 'c', .* or 'q', not 'z'"):
        trace.units(part="z")


def test_plot_draws_a_part():
    pytest.importorskip("matplotlib")
    network, vocabulary = stack((("lstm", 7), ("gru", 5)))
    trace = traced(network, vocabulary, letters(50))
    for part, ends in (("h", (-1, 1)), ("u", (0, 1)), ("f", (0, 1)), ("c", None)):
        (image,) = trace.plot(5, 30, units=4, part=part).axes[1].images
        best = trace.units(part=part)[0]
        assert (
            np.asarray(image.get_array())[0] == trace.parts[best.layer][part][5:30, best.number]
        ).all()
        assert ends is None or image.get_clim() == ends
    assert trace.plot(part="f").axes[1].get_title(loc="left") == "forget gate f"


def test_gates_and_cells_are_there_by_layer_and_name():
    network, vocabulary = stack((("lstm", 7), ("gru", 5), ("rnn", 3)))
    trace = traced(network, vocabulary, letters(20))
    lstm, gru, rnn = trace.parts
    assert [list(part) for part in trace.parts] == [
        ["h", "c", "i", "f", "g", "o"],
        ["h", "n", "r", "u", "q"],
        ["h"],
    ]
    np.testing.assert_allclose(lstm["h"], lstm["o"] * np.tanh(lstm["c"]), rtol=1e-12)
    np.testing.assert_allclose(
        lstm["c"][1:], lstm["f"][1:] * lstm["c"][:-1] + lstm["i"][1:] * lstm["g"][1:], rtol=1e-12
    )
    np.testing.assert_allclose(
        gru["h"][1:], (1 - gru["u"][1:]) * gru["n"][1:] + gru["u"][1:] * gru["h"][:-1], rtol=1e-12
    )
    assert all(
        states is part["h"] or (states == part["h"]).all()
        for states, part in zip(trace.states, trace.parts, strict=True)
    )
    assert rnn["h"].shape == (20, 3)


def test_saliency_of_a_network_with_counts_is_that_of_the_network_alone():
    options = {
        "cell": "lstm",
        "hidden_size": 4,
        "steps": 5,
        "progress": False,
        "preset": "tutorial",
    }
    mixed, alone = (
        charrnn.train_text("to be, or not " * 20, ngram=ngram, **options) for ngram in (9, 0)
    )
    found, expected = (model.trace("to be").saliencies(0, 5, 3) for model in (mixed, alone))
    np.testing.assert_array_equal(found, expected)
