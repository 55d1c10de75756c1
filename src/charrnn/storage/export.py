"""Models to PyTorch and back, and to ONNX; each library is imported when it is asked for.

In all three a layer computes the same: docs/math.md has the equations and the letters. The others have a row for each unit of each gate,
and two biases of each sum; a matrix here is theirs transposed and cut into gates.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..data.vocabulary import Vocabulary
from ..network import Network, Real
from ..network.config import split
from ..network.learner import Learner
from ..util.atomic_write import StrPath, write_atomically

_IN_TORCH = {"rnn": "h", "gru": "run", "lstm": "ifgo"}  # gates in the order of their rows
_IN_ONNX = {"rnn": "h", "gru": "urn", "lstm": "iofg"}
_OPSET, _IR_VERSION = 17, 8  # of 2022: what reads ONNX at all reads these
_LARGEST = 2**31 - 1  # bytes of a message of Protocol Buffers, which an ONNX file is


class _Rows(NamedTuple):
    """The arrays of a layer, in the order of PyTorch's names: (gates H, inputs), (gates H, H), (gates H,), (gates H,)."""

    weight_ih: Real
    weight_hh: Real
    bias_ih: Real
    bias_hh: Real


def _import(name: str) -> Any:
    """Return a library, or raise ModuleNotFoundError that says how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"this needs {name}: pip install 'charrnn-cython[{name}]'"
        raise ModuleNotFoundError(message, name=error.name) from error


def _layers(network: Network) -> Iterator[tuple[str, str, int]]:
    """Yield the suffix of the names of each layer, its cell and its units."""
    for i, (cell, units) in enumerate(network.description.layers):
        yield str(i + 1) if i else "", cell, units


def _rows(views: Mapping[str, Real], suffix: str, gates: str) -> _Rows:
    """Return the arrays of a layer, gates in this order; of the two biases the second is 0, but where a sum has a bias of its own."""

    def joined(kind: str) -> Real:
        return np.concatenate([views[f"{kind}{gate}{suffix}"].T for gate in gates])

    own = [
        views.get(f"bh{gate}{suffix}", np.zeros_like(views[f"b{gate}{suffix}"])) for gate in gates
    ]
    return _Rows(joined("Wx"), joined("Wh"), joined("b"), np.concatenate(own))


def _fill(views: Mapping[str, Real], suffix: str, gates: str, rows: _Rows) -> None:
    """Write the arrays of a layer: what `_rows` reads; the two biases of a sum are added."""
    for gate, *parts in zip(gates, *(np.split(array, len(gates)) for array in rows), strict=True):
        weight_ih, weight_hh, bias_ih, bias_hh = parts
        views[f"Wx{gate}{suffix}"][...] = weight_ih.T
        views[f"Wh{gate}{suffix}"][...] = weight_hh.T
        own = views.get(f"bh{gate}{suffix}")
        views[f"b{gate}{suffix}"][...] = bias_ih + bias_hh if own is None else bias_ih
        if own is not None:
            own[...] = bias_hh


# -------------------------------------------------------------------------------------------------------------------- PyTorch


def to_torch(learner: Learner) -> Any:
    """Return a `CharModule` with the weights of a learner, ready to evaluate."""
    torch, network = _import("torch"), learner.network
    (cell, units), *others = network.description.layers
    if any(layer != (cell, units) for layer in others):
        raise ValueError(
            f"one module of PyTorch has layers of one cell and size, not {network.description}; to_onnx writes any"
        )
    from .torch_module import module_of

    views = network.weights.views()
    arrays = {"out.weight": views["Why"].T, "out.bias": views["by"]}
    for i, (suffix, _, _) in enumerate(_layers(network)):
        arrays |= {
            f"rnn.{name}_l{i}": array
            for name, array in _rows(views, suffix, _IN_TORCH[cell])._asdict().items()
        }
    weights = {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    return module_of(
        cell, units, 1 + len(others), network.description.vocab_size, learner.dropout, weights
    ).eval()


_AS_HERE: dict[str, tuple[Any, str]] = {  # what rnn must be, and what to do where it is not
    "bidirectional": (False, "what is to be predicted cannot be read first"),
    "proj_size": (0, "a layer gives all of its state"),
    "batch_first": (False, "rnn.batch_first = False changes no weight; ids then are (T, B)"),
    "nonlinearity": ("tanh", "there is no other vanilla cell here"),
}


def from_torch(module: Any, vocabulary: Any) -> Learner:
    """Return a learner with the weights of a module, or of (rnn, out); or raise what keeps it from being one."""
    rnn, out = _parts(module)
    if not isinstance(vocabulary, Vocabulary):
        made = "Vocabulary(chars) has the characters in the order of their ids, Vocabulary.from_text(text) in that of their code points"
        raise TypeError(f"vocabulary must be a Vocabulary, not {type(vocabulary).__name__}: {made}")
    cell = _cell(rnn)
    dtype = "float64" if str(rnn.weight_hh_l0.dtype) == "torch.float64" else "float32"
    options = {
        "cell": cell,
        "hidden_size": rnn.hidden_size,
        "n_layers": rnn.num_layers,
        "dtype": dtype,
    }
    layers, settings, _ = split(options)
    learner = Learner(layers, vocabulary.symbols, **settings)
    views, H, V = learner.network.weights.views(), rnn.hidden_size, vocabulary.symbols
    gates = _IN_TORCH[cell]
    rows, inputs = len(gates) * H, V
    with np.errstate(over="ignore"):  # what is larger than all float32 comes to light below
        for i, (suffix, _, _) in enumerate(_layers(learner.network)):
            shapes = [
                ("weight_ih", (rows, inputs)),
                ("weight_hh", (rows, H)),
                ("bias_ih", (rows,)),
                ("bias_hh", (rows,)),
            ]
            _fill(
                views,
                suffix,
                gates,
                _Rows(*(_array(rnn, "rnn", f"{name}_l{i}", shape, V) for name, shape in shapes)),
            )
            inputs = H
        views["Why"][...] = _array(out, "out", "weight", (V, H), V).T
        views["by"][...] = _array(out, "out", "bias", (V,), V)
    if not np.isfinite(learner.network.weights.block).all():
        raise ValueError(
            f"module has weights, or biases with a sum, that are too large for {dtype}"
        )
    return learner


def _parts(module: Any) -> tuple[Any, Any]:
    """Return rnn and out of what `from_torch` is given."""
    nn = _import("torch").nn
    pair = isinstance(module, (tuple, list)) and len(module) == 2
    rnn, out = module if pair else (getattr(module, "rnn", None), getattr(module, "out", None))
    if not isinstance(rnn, (nn.RNN, nn.GRU, nn.LSTM)) or not isinstance(out, nn.Linear):
        kinds = "rnn, an nn.RNN, nn.GRU or nn.LSTM, and out, an nn.Linear, or be the pair of them, as (module.lstm, module.linear)"
        if not pair and not isinstance(module, nn.Module):
            what = f"it is {type(module).__name__}; load_state_dict puts weights, of a file of PyTorch, into such modules"
        else:
            what = f"here rnn is {type(rnn).__name__}, out is {type(out).__name__}"
        raise TypeError(f"module must have {kinds}; {what}")
    for name, part in (("rnn", rnn), ("out", out)):
        if type(part).forward not in (
            nn.RNN.forward,
            nn.GRU.forward,
            nn.LSTM.forward,
            nn.Linear.forward,
        ):
            how = "load_state_dict puts its weights into one of PyTorch's own"
            raise TypeError(
                f"{name} is {type(part).__name__}, with a forward of its own, of which weights tell nothing: {how}"
            )
    return rnn, out


def _cell(rnn: Any) -> str:
    """Return the name of a module's cell; or raise ValueError if it is none that there is here."""
    for name, (wanted, why) in _AS_HERE.items():
        if (found := getattr(rnn, name, wanted)) != wanted:
            raise ValueError(f"rnn must have {name}={wanted!r}, not {found!r}: {why}")
    return str(rnn.mode).partition("_")[0].lower()


def _array(module: Any, owner: str, name: str, shape: tuple[int, ...], symbols: int) -> Real:
    """Return a tensor of a module as an array, 0 if it is a bias that there is not; or raise ValueError that names it."""
    tensor = getattr(module, name, None)
    try:
        if tensor is not None and tensor.is_complex():
            raise TypeError("it is complex")
        if tensor is None and "bias" in name:
            array: Real = np.zeros(shape)
        else:
            array = tensor.detach().cpu().double().numpy()  # type: ignore[union-attr]
    except (
        AttributeError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # it is sparse, without memory, none ...
        raise ValueError(f"the tensor {owner}.{name} cannot be read as numbers: {error}") from error
    if array.shape != shape:
        expected = f"one-hot input and the {symbols} symbols of the vocabulary need {shape}"
        raise ValueError(f"the tensor {owner}.{name} has the shape {array.shape}: {expected}")
    if not np.isfinite(array).all():
        raise ValueError(f"the tensor {owner}.{name} has numbers that are not finite")
    return array


# -------------------------------------------------------------------------------------------------------------------- ONNX


def to_onnx(network: Network, vocabulary: Vocabulary, path: StrPath) -> None:
    """Write a network as an ONNX file, checked before it is written."""
    onnx = _import("onnx")
    if not np.isfinite(network.weights.block).all():
        raise ValueError("the weights have values that are not finite: no file is written of them")
    size = network.description.n_parameters * network.dtype.itemsize
    if size >= _LARGEST:
        raise ValueError(f"an ONNX file has at most {_LARGEST} bytes, and these weights are {size}")
    model = _onnx_model(onnx, network)
    words = {
        "alphabet": "bytes" if vocabulary.of_bytes else "characters",
        "kind": "records" if vocabulary.records else "text",
    }
    onnx.helper.set_model_props(model, {**words, "vocabulary": json.dumps(vocabulary.chars)})
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, [model.SerializeToString()])


def _onnx_model(onnx: Any, network: Network) -> Any:
    """Return the graph of a network: ids (T, B) and a state to logits (T, B, V) and the state after them."""
    helper, views, V = onnx.helper, network.weights.views(), network.description.vocab_size
    kind = helper.np_dtype_to_tensor_dtype(network.dtype)
    constants = {
        "depth": np.array(V),
        "off_on": np.array([0, 1], network.dtype),
        "direction": np.array([1]),
    }
    constants |= {"Why": views["Why"], "by": views["by"]}
    inputs = [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["T", "B"])]
    outputs = [helper.make_tensor_value_info("logits", kind, ["T", "B", V])]
    nodes, x = [helper.make_node("OneHot", ["ids", "depth", "off_on"], ["x"])], "x"
    for i, (suffix, cell, units) in enumerate(_layers(network), 1):
        rows = _rows(views, suffix, _IN_ONNX[cell])
        W, R, B, states = (
            f"W{i}",
            f"R{i}",
            f"B{i}",
            [f"{part}{i}" for part in ("hc" if cell == "lstm" else "h")],
        )
        constants |= {
            W: rows.weight_ih[None],
            R: rows.weight_hh[None],
            B: np.concatenate(rows[2:])[None],
        }
        after = [f"{state}_after" for state in states]
        options = {"hidden_size": units} | ({"linear_before_reset": 1} if cell == "gru" else {})
        nodes.append(
            helper.make_node(cell.upper(), [x, W, R, B, "", *states], [f"y{i}", *after], **options)
        )
        nodes.append(
            helper.make_node("Squeeze", [f"y{i}", "direction"], [x := f"x{i}"])
        )  # (T, 1, B, H): one direction
        inputs += [helper.make_tensor_value_info(name, kind, [1, "B", units]) for name in states]
        outputs += [helper.make_tensor_value_info(name, kind, [1, "B", units]) for name in after]
    nodes += [
        helper.make_node("MatMul", [x, "Why"], ["sums"]),
        helper.make_node("Add", ["sums", "by"], ["logits"]),
    ]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "charrnn", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(
        graph, producer_name="charrnn", opset_imports=opsets, ir_version=_IR_VERSION
    )
