"""Models to PyTorch and back, and to ONNX. Each library is imported when it is needed.

In all three a layer computes the same; docs/math.md has the equations and the letters. PyTorch and
ONNX have a row for each unit of each gate, and two biases for each sum: a matrix here is theirs
transposed and cut into gates.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..data.vocabulary import Vocabulary
from ..network import Network, Real
from ..network.learner import Learner
from ..util.atomic_write import StrPath, write_atomically
from ..util.errors import needing

_IN_TORCH = {"rnn": "h", "gru": "run", "lstm": "ifgo"}  # gates in the order of their rows
_IN_ONNX = {"rnn": "h", "gru": "urn", "lstm": "iofg"}
_OPSET, _IR_VERSION = 17, 8  # of 2022: every reader of ONNX knows them
_LARGEST = 2**31 - 1  # bytes of a message of Protocol Buffers, which an ONNX file is


class _Rows(NamedTuple):
    """The arrays of a layer, as PyTorch orders them, with a row for each unit of each gate."""

    weight_ih: Real  # (gates H, inputs)
    weight_hh: Real  # (gates H, H)
    bias_ih: Real  # (gates H,)
    bias_hh: Real


def _import(name: str) -> Any:
    """Return a library, or raise ModuleNotFoundError that says how to install it."""
    with needing(f"this needs {name}: pip install 'charrnn-cython[{name}]'"):
        return import_module(name)


def _layers(network: Network) -> Iterator[tuple[str, str, int]]:
    """Yield the suffix of the names of each layer, its cell and its units."""
    for i, (cell, units) in enumerate(network.description.layers):
        yield str(i + 1) if i else "", cell, units


def _rows(views: Mapping[str, Real], suffix: str, gates: str) -> _Rows:
    """Return the arrays of a layer, with gates in this order.

    bias_hh is 0 except in a gate whose two sums have a bias each.
    """

    def joined(kind: str) -> Real:
        return np.concatenate([views[f"{kind}{gate}{suffix}"].T for gate in gates])

    none = {gate: np.zeros_like(views[f"b{gate}{suffix}"]) for gate in gates}
    bias_hh = [views.get(f"bh{gate}{suffix}", none[gate]) for gate in gates]
    return _Rows(joined("Wx"), joined("Wh"), joined("b"), np.concatenate(bias_hh))


def _fill(views: Mapping[str, Real], suffix: str, gates: str, rows: _Rows) -> None:
    """Write the arrays of a layer: what `_rows` reads. The two biases of one sum are added."""
    for gate, *parts in zip(gates, *(np.split(array, len(gates)) for array in rows), strict=True):
        weight_ih, weight_hh, bias_ih, bias_hh = parts
        views[f"Wx{gate}{suffix}"][...] = weight_ih.T
        views[f"Wh{gate}{suffix}"][...] = weight_hh.T
        if f"bh{gate}{suffix}" in views:
            views[f"b{gate}{suffix}"][...] = bias_ih
            views[f"bh{gate}{suffix}"][...] = bias_hh
        else:
            views[f"b{gate}{suffix}"][...] = bias_ih + bias_hh


# ----------------------------------------------------------------------------------------- PyTorch


def to_torch(learner: Learner) -> Any:
    """Return a `CharModule` with the weights of a learner, ready to evaluate."""
    torch, network = _import("torch"), learner.network
    description = network.description
    (cell, units), *others = description.layers
    if any(layer != (cell, units) for layer in others):
        what = "one module of PyTorch has layers of one cell and size"
        raise ValueError(f"{what}, not {description}; to_onnx writes any")
    from ._torch_module import module_of

    views = network.weights.views()
    arrays = {"out.weight": views["Why"].T, "out.bias": views["by"]}
    for i, (suffix, _, _) in enumerate(_layers(network)):
        rows = _rows(views, suffix, _IN_TORCH[cell])._asdict()
        arrays |= {f"rnn.{name}_l{i}": array for name, array in rows.items()}
    weights = {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    sizes = units, len(description.layers), description.vocab_size
    return module_of(cell, *sizes, learner.dropout, weights).eval()


# What rnn must be, and what to do if it is not.
_AS_HERE: dict[str, tuple[Any, str]] = {
    "bidirectional": (False, "it would read what it is to predict"),
    "proj_size": (0, "a layer here returns all of its state"),
    "batch_first": (False, "rnn.batch_first = False changes no weight; ids then are (T, B)"),
    "nonlinearity": ("tanh", "the vanilla cell here has no other"),
}


def from_torch(module: Any, vocabulary: Any) -> Learner:
    """Return a learner with the weights of a module, or of (rnn, out); or raise why not."""
    rnn, out = _parts(module)
    if not isinstance(vocabulary, Vocabulary):
        how = "Vocabulary(chars) has the characters in the order of their ids"
        what = f"vocabulary must be a Vocabulary, not {type(vocabulary).__name__}"
        raise TypeError(f"{what}: {how}, Vocabulary.from_text(text) in that of their code points")
    for name, (wanted, why) in _AS_HERE.items():
        if (found := getattr(rnn, name, wanted)) != wanted:
            raise ValueError(f"rnn must have {name}={wanted!r}, not {found!r}: {why}")
    cell, H, V = rnn.mode.partition("_")[0].lower(), rnn.hidden_size, vocabulary.symbols
    dtype = "float64" if str(rnn.weight_hh_l0.dtype) == "torch.float64" else "float32"
    learner = Learner.from_network(Network(([(cell, H)] * rnn.num_layers, V), dtype))
    views, gates = learner.network.weights.views(), _IN_TORCH[cell]
    sizes, inputs = len(gates) * H, V
    with np.errstate(over="ignore"):  # what is larger than all float32 is an error below
        for i, (suffix, _, _) in enumerate(_layers(learner.network)):
            shapes = (sizes, inputs), (sizes, H), (sizes,), (sizes,)
            arrays = [
                _array(rnn, "rnn", f"{name}_l{i}", shape, V)
                for name, shape in zip(_Rows._fields, shapes, strict=True)
            ]
            _fill(views, suffix, gates, _Rows(*arrays))
            inputs = H
        views["Why"][...] = _array(out, "out", "weight", (V, H), V).T
        views["by"][...] = _array(out, "out", "bias", (V,), V)
    if not np.isfinite(learner.network.weights.block).all():
        what = "module has weights, or biases with a sum, that are too large"
        raise ValueError(f"{what} for {dtype}")
    return learner


def _parts(module: Any) -> tuple[Any, Any]:
    """Return rnn and out of what `from_torch` is given, or raise TypeError."""
    nn = _import("torch").nn
    pair = isinstance(module, (tuple, list)) and len(module) == 2
    rnn, out = module if pair else (getattr(module, "rnn", None), getattr(module, "out", None))
    if not isinstance(rnn, (nn.RNN, nn.GRU, nn.LSTM)) or not isinstance(out, nn.Linear):
        what = f"here rnn is {type(rnn).__name__}, out is {type(out).__name__}"
        if not pair and not isinstance(module, nn.Module):
            how = "load_state_dict puts weights, of a file of PyTorch, into such modules"
            what = f"it is {type(module).__name__}; {how}"
        kinds = "rnn, an nn.RNN, nn.GRU or nn.LSTM, and out, an nn.Linear"
        pairs = "or be the pair of them, as (module.lstm, module.linear)"
        raise TypeError(f"module must have {kinds}, {pairs}; {what}")
    _check_plain(nn, "rnn", rnn)
    _check_plain(nn, "out", out)
    if isinstance(module, nn.Module):
        _check_hooks("module", module)
    return rnn, out


def _check_plain(nn: Any, name: str, part: Any) -> None:
    """Raise TypeError if a module computes anything but what its weights say."""
    known = nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward, nn.Linear.forward
    if type(part).forward not in known:
        how = "load_state_dict puts its weights into one of PyTorch's own"
        what = f"{name} is {type(part).__name__}, with a forward of its own"
        raise TypeError(f"{what}, which its weights do not describe: {how}")
    _check_hooks(name, part)
    if nn.utils.parametrize.is_parametrized(part):
        how = "torch.nn.utils.parametrize.remove_parametrizations"
        raise TypeError(f"{name} has parametrizations: {how} makes them weights")


def _check_hooks(name: str, module: Any) -> None:
    """Raise TypeError if more runs in a module than the forward of its class."""
    if "forward" in vars(module):
        how = f"del {name}.forward removes it"
        raise TypeError(f"{name} has a forward of its own, set on the instance: {how}")
    if module._forward_hooks or module._forward_pre_hooks:
        how = "remove them, as torch.nn.utils.remove_weight_norm does its own"
        raise TypeError(f"{name} has hooks, which change what it computes: {how}")


def _array(module: Any, owner: str, name: str, shape: tuple[int, ...], symbols: int) -> Real:
    """Return a tensor of a module as an array, a missing bias as 0; or raise ValueError."""
    tensor = getattr(module, name, None)
    if tensor is None and "bias" in name:
        return np.zeros(shape)
    try:
        if tensor is not None and tensor.is_complex():
            raise TypeError("it is complex")
        array: Real = tensor.detach().cpu().double().numpy()  # type: ignore[union-attr]
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:  # it is sparse, None ...
        raise ValueError(f"the tensor {owner}.{name} cannot be read as numbers: {error}") from error
    if array.shape != shape:
        need = f"one-hot input and the {symbols} symbols of the vocabulary need {shape}"
        raise ValueError(f"the tensor {owner}.{name} has the shape {array.shape}: {need}")
    if not np.isfinite(array).all():
        raise ValueError(f"the tensor {owner}.{name} has numbers that are not finite")
    return array


# -------------------------------------------------------------------------------------------- ONNX


def to_onnx(network: Network, vocabulary: Vocabulary, path: StrPath) -> None:
    """Write a network as an ONNX file of float32, checked before it is written.

    onnxruntime has no recurrent layers in float64.
    """
    onnx = _import("onnx")
    size = network.description.n_parameters * 4
    if size >= _LARGEST:
        raise ValueError(f"an ONNX file has at most {_LARGEST} bytes, and these weights are {size}")
    with np.errstate(over="ignore"):
        views = {n: view.astype(np.float32) for n, view in network.weights.views().items()}
    if not all(np.isfinite(view).all() for view in views.values()):
        what = "the weights have values that are not finite, or too large for float32"
        raise ValueError(f"{what}: no file is written of them")
    model = _onnx_model(onnx, network, views)
    words = {
        "alphabet": "bytes" if vocabulary.of_bytes else "characters",
        "kind": "records" if vocabulary.records else "text",
        "vocabulary": json.dumps(vocabulary.chars),
        "rare": json.dumps(vocabulary.rare),
    }
    onnx.helper.set_model_props(model, words)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, [model.SerializeToString()])


def _onnx_model(onnx: Any, network: Network, views: Mapping[str, Real]) -> Any:
    """Return the graph of a network: ids (T, B) and states to logits (T, B, V) and new states."""
    helper, V, real = onnx.helper, network.description.vocab_size, onnx.TensorProto.FLOAT
    node, value = helper.make_node, helper.make_tensor_value_info
    constants: dict[str, Any] = {"depth": np.array(V), "direction": np.array([1])}
    constants |= {"off_on": np.array([0, 1], np.float32), "Why": views["Why"], "by": views["by"]}
    inputs = [value("ids", onnx.TensorProto.INT64, ["T", "B"])]
    outputs = [value("logits", real, ["T", "B", V])]
    nodes, x = [node("OneHot", ["ids", "depth", "off_on"], ["x"])], "x"
    for i, (suffix, cell, units) in enumerate(_layers(network), 1):
        rows = _rows(views, suffix, _IN_ONNX[cell])
        biases = np.concatenate([rows.bias_ih, rows.bias_hh])
        named = {f"W{i}": rows.weight_ih, f"R{i}": rows.weight_hh, f"B{i}": biases}
        constants |= {name: array[None] for name, array in named.items()}  # (1, ...): one direction
        states = [f"{part}{i}" for part in ("hc" if cell == "lstm" else "h")]
        after = [f"{state}_after" for state in states]
        options = {"linear_before_reset": 1} if cell == "gru" else {}
        operands, results = [x, *named, "", *states], [f"y{i}", *after]
        nodes.append(node(cell.upper(), operands, results, hidden_size=units, **options))
        x = f"x{i}"
        nodes.append(node("Squeeze", [f"y{i}", "direction"], [x]))  # of (T, 1, B, H)
        inputs += [value(name, real, [1, "B", units]) for name in states]
        outputs += [value(name, real, [1, "B", units]) for name in after]
    nodes.append(node("MatMul", [x, "Why"], ["sums"]))
    nodes.append(node("Add", ["sums", "by"], ["logits"]))
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "charrnn", inputs, outputs, arrays)
    versions = {"opset_imports": [helper.make_opsetid("", _OPSET)], "ir_version": _IR_VERSION}
    return helper.make_model(graph, producer_name="charrnn", **versions)
