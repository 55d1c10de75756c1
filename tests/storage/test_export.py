"""Models in PyTorch and ONNX; and PyTorch as an oracle that nobody here has written: forward,
gradient, training, in float64.
"""

import doctest
import io
import json
import sys

import numpy as np
import pytest

import charrnn
import plain
import reference
from charrnn import CharRNN, Vocabulary
from charrnn.network import dispatch
from charrnn.network.learner import Learner
from charrnn.storage import export as interop
from reference import distance, random_network

TEXT = "to be, or not to be, that is the question. " * 10
NETWORKS = [(cell, n_layers) for cell in ("rnn", "gru", "lstm") for n_layers in (1, 2, 3)]
KINDS = {
    "text": lambda **options: plain.train_text(TEXT, **options),
    "records": lambda **options: plain.train_records(["anna", "hanna", "susanna"] * 9, **options),
    "bytes": lambda **options: plain.train_text(TEXT.encode(), alphabet="bytes", **options),
}


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


def trained(kind="text", cell="rnn", n_layers=1, dtype="float64", dropout=0.0):
    options = {"cell": cell, "n_layers": n_layers, "dtype": dtype, "dropout": dropout}
    return KINDS[kind](
        hidden_size=11,
        batch_size=3,
        steps=30,
        optimizer="adam",
        learning_rate=0.02,
        progress=False,
        **options,
    )


def ids_of(model, text):
    """The ids that a model reads for the predictions of a text after its first character, and those
    that it predicts.
    """
    ids = model.vocabulary.encode(text).tolist()
    ids = [len(model.vocabulary), *ids, len(model.vocabulary)] if model.vocabulary.records else ids
    return np.array(ids)[:-1, None], np.array(ids)[1:]


def log_probs(logits, ids):
    """The log-probability of each of ids (T,), given logits (T, 1, V)."""
    logits = np.asarray(logits, np.float64)[:, 0]
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True)))[np.arange(len(ids)), ids]


def of_torch(torch, module, inputs, targets):
    with torch.no_grad():
        return log_probs(module(torch.from_numpy(inputs))[0].numpy(), targets)


# ------------------------------------------------------------------------------------------ PyTorch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("cell", "n_layers"), NETWORKS)
def test_there_and_back(kind, cell, n_layers, torch):
    model = trained(kind, cell, n_layers, dropout=0.2)
    text = b"to be, or" if kind == "bytes" else "susanna" if kind == "records" else "to be, or"
    module = model.to_torch()
    inputs, targets = ids_of(model, text)
    expected = model.log_probs(text)[0 if kind == "records" else 1 :]
    np.testing.assert_allclose(of_torch(torch, module, inputs, targets), expected, rtol=1e-11)

    again = charrnn.from_torch(module, model.vocabulary)
    assert again.vocabulary == model.vocabulary
    assert again.network.description == model.network.description
    for name, view in again.network.weights.views().items():
        np.testing.assert_array_equal(view, model.network.weights.views()[name], err_msg=name)
    np.testing.assert_array_equal(again.log_probs(text), model.log_probs(text))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_what_pytorch_has_made_reads_the_same(cell, torch):
    for options in ({}, {"dtype": torch.float64}, {"bias": False}, {"dtype": torch.bfloat16}):
        torch.manual_seed(0)
        rnn = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](
            9, 7, 2, **options
        )
        module = interop_module(rnn, torch.nn.Linear(7, 9, **options))
        model = charrnn.from_torch(module, Vocabulary("abcdefghi"))
        inputs, targets = ids_of(model, "abbaghihid")
        double = options.get("dtype") is torch.float64
        assert model.network.dtype == ("float64" if double else "float32")
        found = of_torch(
            torch, module.to(torch.float64 if double else torch.float32), inputs, targets
        )
        np.testing.assert_allclose(
            found, model.log_probs("abbaghihid")[1:], rtol=1e-12 if double else 1e-5
        )
        same = charrnn.from_torch((module.rnn, module.out), model.vocabulary)
        assert same.score("abba") == model.score("abba")


def interop_module(rnn, out):
    from charrnn.storage._torch_module import CharModule

    return CharModule(rnn, out)


def test_a_model_that_comes_from_pytorch_lives_like_any_other(torch, tmp_path):
    model = charrnn.from_torch(trained(cell="lstm", n_layers=2).to_torch(), trained().vocabulary)
    assert model.generate(9, seed=1) == trained(cell="lstm", n_layers=2).generate(9, seed=1)
    model.train_text(TEXT, steps=3, optimizer="adam", progress=False)
    model.save(tmp_path / "model")
    assert charrnn.load(tmp_path / "model").score("to be") == model.score("to be")
    assert isinstance(model, CharRNN)
    assert isinstance(
        charrnn.from_torch(trained().to_torch(), trained().vocabulary).rnn, charrnn.RNN
    )


def test_a_module_is_a_copy_that_drops_in_training_only(torch):
    model = trained(cell="gru", n_layers=2, dtype="float32", dropout=0.5)
    module = model.to_torch()
    assert (module.training, module.rnn.dropout, module.drop.p) == (False, 0.5, 0.5)
    ids = torch.zeros(5, 1, dtype=torch.long)
    assert torch.equal(module(ids)[0], module(ids)[0])
    before = model.network.weights.block.copy()
    module.train()
    with torch.no_grad():
        module.out.weight += 1
        assert not torch.equal(module(ids)[0], module(ids)[0])
    np.testing.assert_array_equal(model.network.weights.block, before)


def test_the_generator_of_pytorch_stays_as_it_is(torch):
    before = torch.get_rng_state()
    charrnn.from_torch(trained(cell="lstm", dropout=0.5).to_torch(), trained().vocabulary)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_goes_on(torch):
    module, (inputs, targets) = trained(cell="lstm").to_torch(), ids_of(trained(), "to be, or")
    with torch.no_grad():
        first, state = module(torch.from_numpy(inputs[:4]))
        rest, _ = module(torch.from_numpy(inputs[4:]), state)
    np.testing.assert_allclose(
        log_probs(torch.cat([first, rest]).numpy(), targets),
        of_torch(torch, module, inputs, targets),
        rtol=1e-12,
    )


def test_what_is_no_such_network_is_named(torch):
    nn, known = torch.nn, Vocabulary("abcde")
    infinite = nn.LSTM(5, 4)
    infinite.weight_hh_l0.data[3, 2] = float("inf")
    large, missing, sparse = nn.LSTM(5, 4), nn.LSTM(5, 4), nn.Linear(4, 5)
    large.bias_ih_l0.data[:] = large.bias_hh_l0.data[:] = 3e38
    missing.num_layers = 2
    sparse.weight = nn.Parameter(sparse.weight.to_sparse())
    larger = nn.GRU(5, 4, 2)
    larger.weight_hh_l1 = nn.Parameter(torch.zeros(9, 4))
    for rnn, out, message in (
        (
            nn.LSTM(5, 4, bidirectional=True),
            nn.Linear(8, 5),
            "rnn must have bidirectional=False, not True: it would read what it is to predict",
        ),
        (nn.LSTM(5, 4, proj_size=2), nn.Linear(2, 5), "rnn must have proj_size=0, not 2"),
        (
            nn.GRU(5, 4, batch_first=True),
            nn.Linear(4, 5),
            "rnn must have batch_first=False, not True: rnn.batch_first = False changes",
        ),
        (
            nn.RNN(5, 4, nonlinearity="relu"),
            nn.Linear(4, 5),
            "rnn must have nonlinearity='tanh', not 'relu'",
        ),
        (
            nn.GRU(6, 4),
            nn.Linear(4, 5),
            r"rnn.weight_ih_l0 has the shape \(12, 6\): .* the 5 symbols of the vocabulary need "
            r"\(12, 5\)",
        ),
        (nn.GRU(5, 4), nn.Linear(4, 6), r"out.weight has the shape \(6, 4\): .* need \(5, 4\)"),
        (nn.GRU(5, 4), nn.Linear(3, 5), r"out.weight has the shape \(5, 3\): .* need \(5, 4\)"),
        (larger, nn.Linear(4, 5), r"rnn.weight_hh_l1 has the shape \(9, 4\): .* need \(12, 4\)"),
        (infinite, nn.Linear(4, 5), "rnn.weight_hh_l0 has numbers that are not finite"),
        (nn.GRU(5, 4, 17), nn.Linear(4, 5), "n_layers must be from 1 to 16, not 17"),
        (large, nn.Linear(4, 5), "biases with a sum, that are too large for float32"),
        (missing, nn.Linear(4, 5), "the tensor rnn.weight_ih_l1 cannot be read as numbers"),
        (nn.GRU(5, 4), sparse, "the tensor out.weight cannot be read as numbers: .*parse"),
        (
            nn.GRU(5, 4),
            nn.Linear(4, 5, device="meta"),
            "the tensor out.weight cannot be read as numbers: .*meta",
        ),
        (
            nn.GRU(5, 4),
            nn.Linear(4, 5, dtype=torch.complex64),
            "the tensor out.weight cannot be read as numbers: it is complex",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            charrnn.from_torch((rnn, out), known)
    doubled = type(
        "Doubled",
        (nn.Linear,),
        {"forward": lambda self, inputs: 2 * nn.Linear.forward(self, inputs)},
    )
    for module, vocabulary, message in (
        (
            (nn.GRU(5, 4), doubled(4, 5)),
            known,
            "out is Doubled, with a forward of its own, .*: load_state_dict",
        ),
        (
            (nn.GRU(5, 4), nn.Linear(4, 5)),
            "abcde",
            r"vocabulary must be a Vocabulary, not str: Vocabulary\(chars\)",
        ),
        ((nn.GRUCell(5, 4), nn.Linear(4, 5)), known, "here rnn is GRUCell, out is Linear"),
        (nn.GRU(5, 4), known, "module must have rnn, .* here rnn is NoneType, out is NoneType"),
        ((nn.GRU(5, 4),), known, "be the pair of them, .*; it is tuple; load_state_dict"),
        (
            "model.pt",
            known,
            "be the pair of them, .*; it is str; load_state_dict puts weights, of a file of "
            "PyTorch, into such",
        ),
        (nn.GRU(5, 4).state_dict(), known, "; it is OrderedDict; load_state_dict"),
    ):
        with pytest.raises(TypeError, match=message):
            charrnn.from_torch(module, vocabulary)


def hooked(torch):
    """Yield modules that compute something else than their weights say, and what errors say."""
    utils = torch.nn.utils

    def parts():
        torch.manual_seed(0)
        return torch.nn.GRU(5, 4), torch.nn.Linear(4, 5)

    rnn, out = parts()
    out.forward = lambda inputs: 2 * torch.nn.Linear.forward(out, inputs)
    yield (rnn, out), "out has a forward of its own, set on the instance: del out.forward removes"
    rnn, out = parts()
    rnn.register_forward_hook(lambda module, inputs, outputs: outputs)
    yield (rnn, out), "rnn has hooks, which change what it computes"
    rnn, out = parts()
    out.register_forward_pre_hook(lambda module, inputs: inputs)
    yield (rnn, out), "out has hooks"
    rnn, out = parts()
    yield (utils.weight_norm(rnn, "weight_hh_l0"), out), "rnn has hooks.*remove_weight_norm"
    rnn, out = parts()
    yield (rnn, utils.spectral_norm(out)), "out has hooks"
    for norm in (utils.parametrizations.weight_norm, utils.parametrizations.spectral_norm):
        rnn, out = parts()
        yield (rnn, norm(out)), "out has parametrizations: .*remove_parametrizations"
    module = interop_module(*parts())
    module.register_forward_hook(lambda module, inputs, outputs: outputs)
    yield module, "module has hooks"
    module = interop_module(*parts())
    module.forward = lambda ids: ids
    yield module, "module has a forward of its own, set on the instance"


@pytest.mark.filterwarnings("ignore")  # PyTorch deprecates some of them
def test_what_computes_more_than_its_weights_say_is_refused(torch):
    for module, message in hooked(torch):
        with pytest.raises(TypeError, match=message):
            charrnn.from_torch(module, Vocabulary("abcde"))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_ids_are_of_any_integer_type(torch, dtype):
    model = trained()
    ids = model.vocabulary.encode("to be", dtype=dtype)[:, None]
    module = model.to_torch()
    with torch.no_grad():
        logits, _ = module(torch.from_numpy(ids))
        assert torch.equal(logits, module(torch.from_numpy(ids.astype(np.int64)))[0])


def test_layers_that_differ_are_no_module(torch):
    for layers in ([("gru", 4), ("gru", 5)], [("gru", 4), ("lstm", 4)]):
        learner = Learner.from_network(random_network(layers, 6), initial_accumulator_value=0.0)
        with pytest.raises(
            ValueError,
            match=r"layers of one cell and size, not gru of 4 units, .*; to_onnx writes any",
        ):
            interop.to_torch(learner)


# --------------------------------------------------------------------------------------- the oracle


def with_one_bias(torch, network, start=0.0):
    """A module of a network, of which one of the two biases of a sum is trained, as there is one
    here; of a GRU's n both are.
    """
    module = interop.to_torch(
        Learner.from_network(network, initial_accumulator_value=start)
    ).train()
    for name, parameter in module.rnn.named_parameters():
        if name.startswith("bias_hh"):
            trains = torch.zeros_like(parameter)
            if isinstance(module.rnn, torch.nn.GRU):
                trains[-module.rnn.hidden_size :] = 1
            parameter.register_hook(lambda gradient, trains=trains: gradient * trains)
    return module


def arrays_of(module, network, gradients=False):
    """The weights of a module, or their gradient, by the names of the network's arrays."""
    other = charrnn.network.Network(network.description, "float64")
    views, cell = other.weights.views(), network.description.layers[0].cell
    numbers = {
        name: (tensor.grad if gradients else tensor.detach()).numpy()
        for name, tensor in module.named_parameters()
    }
    for i in range(len(network.description.layers)):
        rows = interop._Rows(*(numbers[f"rnn.{name}_l{i}"] for name in interop._Rows._fields))
        interop._fill(views, str(i + 1) if i else "", interop._IN_TORCH[cell], rows)
    views["Why"][...], views["by"][...] = numbers["out.weight"].T, numbers["out.bias"]
    return views


def loss_of(torch, module, inputs, targets, state):
    """The loss of each target (T, B), and the state after them."""
    logits, state = module(torch.from_numpy(inputs), state)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(targets).flatten(), ignore_index=-1, reduction="none"
    )
    return losses.reshape(targets.shape), state


def state_of(torch, network, state):
    """A state (B, state_size) as PyTorch has it."""
    parts = reference.Stack(network.description, {}).split(state)
    h, c = (torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True))
    return (h, c) if network.description.layers[0].cell == "lstm" else h


@pytest.mark.parametrize("number", range(60))
def test_losses_gradient_and_states_equal_those_of_autograd(number, torch):
    rng = np.random.default_rng(number)
    (cell, n_layers), (H, V, T, B) = NETWORKS[number % 9], rng.integers(1, [20, 20, 9, 5])
    network = random_network([(cell, int(H))] * n_layers, int(V), number)
    inputs, targets = rng.integers(0, V, (2, T, B))
    targets[rng.random((T, B)) < 0.2] = -1
    state = np.tanh(rng.standard_normal((B, network.description.state_size)))
    work = network.workspace(int(T) + 2, int(B), training=True)  # the window is a short one
    work.set_state(state)
    losses, gradient = network.gradient(work, inputs, targets)

    module = with_one_bias(torch, network)
    expected, after = loss_of(torch, module, inputs, targets, state_of(torch, network, state))
    np.testing.assert_allclose(
        np.where(targets >= 0, losses, 0), expected.detach().numpy(), rtol=1e-11, atol=1e-12
    )
    (expected.sum() / int(B)).backward()
    assert distance(gradient.views(), arrays_of(module, network, gradients=True)) <= 1e-11
    network.feed(work, inputs)
    for ours, theirs in zip(state_of(torch, network, work.get_state()), after, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-11, atol=1e-13)


SETTINGS = [{}, {"clip_value": 0.02}, {"clip_norm": 0.1, "weight_decay": 0.1}]
RATES = {"adagrad": 0.05, "sgd": 0.05, "rmsprop": 1e-3, "adam": 1e-3}
START = 0.1  # of Adagrad's memory


def optimiser_of(torch, name, module, decay):
    """PyTorch's optimiser of this name, with the numbers of ours; weights decay before each
    step.
    """
    if name == "adagrad":  # our 1e-8 is inside the root: it is a part of where the memory starts
        return torch.optim.Adagrad(
            module.parameters(), lr=RATES[name], initial_accumulator_value=START + 1e-8, eps=0
        )
    if name == "sgd":
        return torch.optim.SGD(module.parameters(), lr=RATES[name])
    if name == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=RATES[name], alpha=0.95, eps=1e-8)
    matrices = [parameter for parameter in module.parameters() if parameter.ndim == 2]
    biases = [parameter for parameter in module.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATES[name], betas=(0.9, 0.99), eps=1e-8)


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize(("cell", "n_layers"), NETWORKS)
def test_a_step_and_a_thousand_equal_those_of_pytorch(cell, n_layers, optimizer, torch):
    settings = dict(SETTINGS[(n_layers + list(RATES).index(optimizer)) % 3])
    if optimizer != "adam":
        settings.pop("decay", None)  # the decay of PyTorch's others is not decoupled
    network = random_network([(cell, 8)] * n_layers, 7, optimizer=optimizer)
    for view in network.weights.views().values():
        view *= 0.1  # with large weights the dynamics amplify rounding, and no two programs agree
    module = with_one_bias(torch, network, START)
    optimiser = optimiser_of(torch, optimizer, module, settings.get("decay", 0.0))
    T, B, steps = 5, 2, 1000
    ids = np.random.default_rng(0).integers(0, 7, (steps * T + 1, B))
    work, state = network.workspace(T, B, training=True), None
    for step in range(steps):
        window = ids[:-1][step * T : (step + 1) * T], ids[1:][step * T : (step + 1) * T]
        (loss,) = network.train_steps(
            work, *window, learning_rate=RATES[optimizer], first_step=step, **settings
        )
        losses, state = loss_of(torch, module, *window, state)
        state = tuple(part.detach() for part in state) if cell == "lstm" else state.detach()
        optimiser.zero_grad()
        (losses.sum() / B).backward()
        clip(torch, module, T, **settings)
        optimiser.step()
        assert loss == pytest.approx(losses.sum().item(), rel=1e-9)
        if step in (0, steps - 1):
            views = arrays_of(module, network)
            for name, view in network.weights.views().items():
                np.testing.assert_allclose(
                    view, views[name], rtol=1e-9, atol=1e-9, err_msg=f"{name} after step {step}"
                )


def clip(torch, module, T, clip_value=np.inf, clip_norm=np.inf, weight_decay=0.0):
    """Clip as here: the norm of the gradient by the loss of a character, then each element.
    PyTorch's own adds 1e-6 to the norm.
    """
    gradients = [parameter.grad for parameter in module.parameters()]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item() / T
    for gradient in gradients:
        gradient.mul_(min(1.0, clip_norm / norm)).clamp_(-clip_value, clip_value)


# --------------------------------------------------------------------------------------------- ONNX


def evaluate(path, inputs, states):
    """The outputs of a file by name, as onnx's own evaluator has them."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return dict(
        zip(evaluator.output_names, evaluator.run(None, {"ids": inputs, **states}), strict=True)
    )


def run(path, inputs, states):
    """The outputs of a file by name, as onnxruntime has them."""
    session = pytest.importorskip("onnxruntime").InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    return dict(
        zip(
            [part.name for part in session.get_outputs()],
            session.run(None, {"ids": inputs, **states}),
            strict=True,
        )
    )


def zero_states(layers, B, dtype="float32"):
    parts = [
        (f"{part}{i}", units)
        for i, (cell, units) in enumerate(layers, 1)
        for part in ("hc" if cell == "lstm" else "h")
    ]
    return {name: np.zeros((1, B, units), dtype) for name, units in parts}


LAYERS = [[(cell, 11)] * n_layers for cell, n_layers in NETWORKS] + [
    [("gru", 5), ("lstm", 8), ("rnn", 3)],
    [("lstm", 4), ("lstm", 6)],
]


@pytest.mark.parametrize("outputs_of", [evaluate, run])
@pytest.mark.parametrize("layers", LAYERS)
def test_onnx_reads_the_same(layers, outputs_of, onnx, tmp_path):
    network = random_network(layers, 9, dtype="float32")
    interop.to_onnx(network, Vocabulary("abcdefghi"), path := tmp_path / "model.onnx")
    onnx.checker.check_model(str(path), full_check=True)
    windows, work, states = (
        np.random.default_rng(0).integers(0, 9, (2, 6, 3)),
        network.workspace(6, 3),
        zero_states(layers, 3),
    )
    for window in windows:  # the second goes on from the state after the first
        found = outputs_of(path, window, states)
        np.testing.assert_allclose(
            found["logits"], dispatch.core.window(work, window)[1], rtol=1e-4, atol=1e-5
        )
        network.feed(work, window)
        for i, pair in enumerate(
            reference.Stack(network.description, {}).split(work.get_state()), 1
        ):
            expected = {
                f"{name}{i}": part
                for name, part in zip("hc", pair, strict=True)
                if f"{name}{i}" in states
            }
            for name, part in expected.items():
                np.testing.assert_allclose(found[f"{name}_after"][0], part, rtol=1e-4, atol=1e-5)
        states = {name: found[f"{name}_after"] for name in states}


@pytest.mark.parametrize("outputs_of", [evaluate, run])
@pytest.mark.parametrize(("kind", "cell"), [("text", "rnn"), ("records", "gru"), ("bytes", "lstm")])
def test_float64_is_written_as_float32(kind, cell, outputs_of, onnx, tmp_path):
    """As onnxruntime has no recurrent layers in float64."""
    model = trained(kind, cell)
    text = b"to be" if kind == "bytes" else "anna" if kind == "records" else "to be"
    model.to_onnx(tmp_path / "model.onnx")
    inputs, targets = ids_of(model, text)
    found = outputs_of(tmp_path / "model.onnx", inputs, zero_states([(cell, 11)], 1))
    expected = model.log_probs(text)[0 if kind == "records" else 1 :]
    np.testing.assert_allclose(log_probs(found["logits"], targets), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata_of_an_onnx_file_have_the_vocabulary(kind, onnx, tmp_path):
    model = trained(kind)
    model.to_onnx(tmp_path / "model.onnx")
    words = {word.key: word.value for word in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(words["vocabulary"]) == model.vocabulary.chars
    assert (words["kind"], words["alphabet"]) == (
        "records" if kind == "records" else "text",
        "bytes" if kind == "bytes" else "characters",
    )


def test_what_an_onnx_file_cannot_hold_is_refused(onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(interop, "_LARGEST", 1000)
    with pytest.raises(
        ValueError, match="an ONNX file has at most 1000 bytes, and these weights are"
    ):
        trained().to_onnx(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with pytest.raises(
        TypeError, match="the path to write to must be a str or path-like, not BytesIO"
    ):
        trained().to_onnx(io.BytesIO())


def test_weights_that_are_not_finite_are_no_onnx(onnx, tmp_path):
    model = trained()
    model.network.weights.block[3] = np.nan
    with pytest.raises(ValueError, match="weights have values that are not finite"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------- without them


def test_a_library_that_is_missing_is_named(monkeypatch, tmp_path):
    for library, call in (
        ("torch", lambda: trained().to_torch()),
        ("torch", lambda: charrnn.from_torch(None, Vocabulary("ab"))),
        ("onnx", lambda: trained().to_onnx(tmp_path / "model.onnx")),
    ):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(
            ModuleNotFoundError,
            match=rf"this needs {library}: pip install 'charrnn-cython\[{library}\]'",
        ) as caught:
            call()
        assert caught.value.name == library


@pytest.mark.parametrize("function", [CharRNN.to_torch, CharRNN.to_onnx, charrnn.from_torch])
def test_examples(function, torch, onnx, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    text = function.__doc__.replace("  # doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, function.__name__, None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0
    assert len(test.examples) > 2
