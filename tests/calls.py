"""One call of each public function on small models.

The scripts in tests/trust repeat these calls, interrupt them, take memory and files from them,
and run them in threads. A new public function gets one entry here; test_calls.py misses it.
"""

import contextlib
import copy
import functools
import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np

import charrnn
from charrnn.network import Network
from charrnn.network._types import Description, Parameters
from charrnn.network.dispatch import has_fma

NAMES = ["anna", "hanna", "susanna", "nan"]
TINY = {"hidden_size": 4, "steps": 2, "progress": False}
DAMAGED = ("short", "header", "empty", "flipped", "text")


def text(length=3000):
    """Real text that every Python ships."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())[:length]


def text_model(**options):
    """A model of text after a few steps."""
    options = {"hidden_size": 16, "steps": 3, "progress": False, **options}
    return charrnn.train_text(text(), **options, preset="tutorial")


def record_model(**options):
    """A model of records that remembers them."""
    return charrnn.train_records(NAMES, remember=True, **{**TINY, **options}, preset="tutorial")


def write_files(folder, model):
    """Write the files that calls read: good ones, and bad ones of each kind."""
    folder = Path(folder)
    (folder / "text").write_text(text(300), encoding="utf-8")
    (folder / "latin-1").write_bytes(b"abc\xff")
    model.save(folder / "model")
    model.save(folder / "model.safetensors")
    charrnn.train_text(text(300), checkpoint=folder / "checkpoint", **TINY, preset="tutorial")
    good = (folder / "model").read_bytes()
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for name, content in zip(DAMAGED, (good[:-1], good[:40], b"", flipped), strict=False):
        (folder / name).write_bytes(content)


def digest(result):
    """Return a result as something that equals that of the same bits."""
    if isinstance(result, charrnn.CharRNN):
        return digest((result.network.weights.block, result.history.steps, result.vocabulary))
    if isinstance(result, np.ndarray):
        return hashlib.sha256(result.tobytes()).hexdigest()
    if isinstance(result, (list, tuple)):
        return [digest(item) for item in result]
    return result if isinstance(result, (str, bytes, int, float, type(None))) else repr(result)


def needs(library, call):
    """Return a call that needs a library: without it, the call must say so."""
    return call if importlib.util.find_spec(library) else refused(ModuleNotFoundError, call)


def refused(error, call):
    """Return a call that must raise an error."""

    def attempt():
        with contextlib.suppress(error):
            call()
            raise AssertionError(f"it raised no {error.__name__}")

    return attempt


def rank(model, strings):
    """Return a call that ranks strings, if they are records."""
    if model.vocabulary.records:
        return lambda: model.rank(strings)
    return refused(ValueError, lambda: model.rank(strings))


def saved(call, path):
    """Return what a call writes to a path."""
    call(path)
    return Path(path).read_bytes()


def live(model, word):
    """Use a model that learns what it reads."""
    with model.adapting() as reader:
        before = reader.read(word), reader.next_probs()
        reader.rollback()
        reader.begin(word[:1])
        return [*before, reader.score(word), reader.model]


def packed(data, model=None):
    """Compress bytes, and restore them."""
    code = charrnn.compress(data, model)
    assert charrnn.decompress(code, model) == data
    return code


def packing(model, data):
    """Return a call that compresses with a model: without FMA, it must say so."""
    call = functools.partial(packed, data, model)
    return call if has_fma() else refused(charrnn.CodecError, call)


def uses(model, folder):
    """Return the calls that leave a model as it is, by name; of a model of text or records."""
    size, path = len(model.vocabulary), Path(folder, "saved")
    word = model.vocabulary.decode([place % size for place in (0, 1, 2, 1, 0)])
    some = [word, word[:2], word[::-1]]
    controls = {"seed": 3, "top_k": 9, "top_p": 0.95, "min_p": 0.001, "no_repeat": 4}
    new = {"novel": model.index is not None}
    trace = model.trace(word)
    return {
        "CharRNN.generate": lambda: model.generate(9, prime=word, stop=word, **controls),
        "CharRNN.generate_many": lambda: model.generate_many(3, 9, seed=0, unique=True, **new),
        "CharRNN.stream": lambda: list(model.stream(9, forbidden=word[:1], **controls)),
        "CharRNN.stream, left": lambda: next(model.stream(prime=word), word) and None,
        "CharRNN.beam_search": lambda: model.beam_search(5, n_best=2, width=3, allowed=word),
        "CharRNN.likeliest": lambda: list(model.likeliest(9, max_length=3, threshold=-50)),
        "CharRNN.rank": rank(model, some),
        "CharRNN.log_probs": lambda: model.log_probs(word),
        "CharRNN.score": lambda: model.score(word, context=word, return_unknown=True),
        "CharRNN.score_many": lambda: model.score_many(some, total=True, end=False),
        "CharRNN.score_words": lambda: model.score_words(word),
        "CharRNN.score_many, adapt": lambda: model.score_many([word * 9, *some], adapt=True),
        "CharRNN.adapting": lambda: live(model, word * 9),
        "CharRNN.next_probs": lambda: model.next_probs(word),
        "CharRNN.trace": lambda: model.trace(word).surprise,
        "Trace.units": lambda: trace.units(),
        "Trace.saliency": lambda: trace.saliency(3),
        "Trace.html": lambda: trace.html(),
        "compress, model": packing(model, b"to be \xff or"),
        "CharRNN.save": lambda: saved(model.save, path),
        "CharRNN.to_torch": needs("torch", lambda: model.to_torch() and None),
        "CharRNN.push_to_hub": refused(TypeError, model.push_to_hub),  # it would use the network
        "CharRNN.to_onnx": needs("onnx", lambda: saved(model.to_onnx, path)),
        "CharRNN.save_js": lambda: saved(model.save_js, path.with_suffix(".js")),
        "attributes": lambda: (model.network, model.vocabulary, model.history, model.index),
        "History": lambda: charrnn.History.from_dict(model.history.to_dict()).steps,
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "copy": lambda: copy.deepcopy(model),
    }


def trainings(model, folder, steps=2):
    """Return the calls that train a model further, by name; `write_files` has filled the folder."""
    more = {"steps": steps, "progress": False, "validation_fraction": 0}
    if model.vocabulary.records:
        return {
            "CharRNN.train_records": lambda: model.train_records(NAMES, **more),
            "CharRNN.train_records, rehearse": lambda: model.train_records(
                NAMES, rehearse=NAMES, **more
            ),
            "CharRNN.adapt": lambda: model.adapt(NAMES),
        }
    two = {"batch_size": 2, "n_threads": 2, **more}
    return {
        "CharRNN.train_text": lambda: model.train_text(text(300), extend=True, **more),
        "CharRNN.train_text, two threads": lambda: model.train_text(text(300), **two),
        "CharRNN.train_text, rehearse": lambda: model.train_text(text(300), rehearse=True, **more),
        "CharRNN.train_file": lambda: model.train_file(Path(folder, "text"), **more),
        "CharRNN.adapt": lambda: model.adapt(text(300)),
    }


def functions(folder):
    """Return the calls that need no model, by name; `write_files` has filled the folder."""
    folder = Path(folder)
    some, new = text(300), folder / "again"

    def fail(_):
        raise RuntimeError

    def diverging():
        charrnn.train_text(some, **TINY | {"steps": 99}, learning_rate=3e38, preset="tutorial")

    resume = {"resume": folder / "checkpoint", **TINY}
    two = {"batch_size": 2, "n_threads": 2, **TINY}
    stop = {"callback": fail, **TINY}
    return {
        "load": lambda: charrnn.load(folder / "model"),
        "load, checkpoint": lambda: charrnn.load(folder / "checkpoint"),
        **{f"load, {name}": damaged(folder / name) for name in DAMAGED},
        "train_text": lambda: charrnn.train_text(some, **TINY, preset="tutorial"),
        "train_text, checkpoint": lambda: charrnn.train_text(
            some, checkpoint=new, **TINY, preset="tutorial"
        ),
        "train_text, resumed": lambda: charrnn.train_text(some, **resume, preset="tutorial"),
        "train_text, diverged": refused(charrnn.DivergedError, diverging),
        "train_text, stopped": refused(
            RuntimeError, lambda: charrnn.train_text(some, **stop, preset="tutorial")
        ),
        "train_records": lambda: charrnn.train_records(
            NAMES, remember=True, **TINY, preset="tutorial"
        ),
        "train_file": lambda: charrnn.train_file(folder / "text", **two, preset="tutorial"),
        "pretrained": needs("charrnn_models", lambda: charrnn.pretrained("names")),
        "CharRNN.from_pretrained": lambda: charrnn.CharRNN.from_pretrained(folder),
        "from_torch": refused((TypeError, ImportError), lambda: charrnn.from_torch(5, "ab")),
        "compress": lambda: packed(some.encode() * 5),
        "decompress": refused(charrnn.CodecError, lambda: charrnn.decompress(b"\xf5crn\x01")),
        "datasets": lambda: charrnn.datasets.names(),
        "Vocabulary": lambda: charrnn.Vocabulary.from_text("hello").extended("world").missing("!"),
        **lesson(folder / "text"),
        **engine(),
    }


def damaged(path):
    """Return a call that must refuse a file."""
    return refused(charrnn.ModelFormatError, lambda: charrnn.load(path))


def lesson(path):
    """Return the calls of the tutorial's network and reader."""
    reader = charrnn.DataReader(path, 10)
    rnn = charrnn.RNN(4, reader.vocab_size, 10, 0.1, seed=0)
    state, ids, targets = np.zeros((4, 1)), [0, 1, 2], [1, 2, 3]
    xs, hs, ps = rnn.forward(ids, state)
    gradients = rnn.backward(xs, hs, ps, targets)
    start = text(1)
    return {
        "RNN": lambda: charrnn.RNN(4, 5, 3, 0.1, seed=0).U,
        "RNN.forward": lambda: rnn.forward(ids, state),
        "RNN.softmax": lambda: rnn.softmax(np.zeros(rnn.vocab_size)),
        "RNN.loss": lambda: rnn.loss(ps, targets),
        "RNN.backward": lambda: rnn.backward(xs, hs, ps, targets),
        "RNN.update_model": lambda: rnn.update_model(*gradients),
        "RNN.gradient_norms": lambda: rnn.gradient_norms(ids, 1, state),
        "RNN.sample": lambda: rnn.sample(state, 0, 3),
        "RNN.predict": lambda: rnn.predict(reader, start, 3),
        "RNN.train": lambda: rnn.train(reader, steps=2, callback=None) and None,
        "RNN.options": lambda: rnn.options(),
        "RNN.U": lambda: (rnn.U, rnn.mc, setattr(rnn, "b", 0), setattr(rnn, "learning_rate", 0.1)),
        "DataReader": lambda: charrnn.DataReader(path, 10).next_batch(),
        "DataReader.next_batch": lambda: (reader.next_batch(), reader.just_started()),
    }


def engine():
    """Return the calls of a network on ids."""
    network = Network(([("rnn", 4)], 5), "float32")
    work, pair = network.workspace(3, 1), network.workspace(2, 2)
    training = network.workspace(3, 2, training=True)
    column, columns = np.array([[0], [1], [2]], np.int32), np.zeros((3, 2), np.int32)
    random, allowed = np.zeros(1, np.uint64), np.ones(5, np.int8)
    beams = 2, np.zeros(2), np.zeros(2, np.int8), allowed, -1
    steps = {"learning_rate": 0.1, "clip_value": 5.0, "n_threads": 2}
    shape = [("rnn", 4)], 5
    return {
        "Network": lambda: Network(shape, "float64").workspace(2, 2, training=True) and None,
        "Network.train_steps": lambda: network.train_steps(training, columns, columns, **steps),
        "Network.evaluate": lambda: network.evaluate(work, column, column),
        "Network.draw": lambda: network.draw(work, 3, random),
        "Network.search": lambda: network.search(pair, *beams),
        "Network.next_nll": lambda: (network.next_nll(work, [1]), network.next_probs(work)),
        "Network.score": lambda: network.score(pair, [0, 1, 2], [2, 1], 4),
        "Network.lend": lambda: network.give_back(network.lend(1, 1)),
        "Network.next_log_probs": lambda: network.next_log_probs(work),
        "Network, wrong": refused(IndexError, lambda: network.evaluate(work, column + 9, column)),
        "Description": lambda: Description(*shape).tensors,
        "Parameters": lambda: Parameters(network.description, "float32").block,
        "Parameters, pickled": lambda: pickle.loads(pickle.dumps(network.weights)).block,
    }


def mistakes(model, folder):
    """Return wrong calls, which must raise the right error, by name."""
    folder = Path(folder)
    wrong = {
        "generate": (TypeError, lambda: model.generate("5")),
        "generate, unknown": (ValueError, lambda: model.generate(5, prime="\u20ac")),
        "score": (ValueError, lambda: model.score("")),
        "beam_search": (ValueError, lambda: model.beam_search(3, n_best=5, width=2)),
        "likeliest": (ValueError, lambda: model.likeliest(threshold=1)),
        "save": (OSError, lambda: model.save(folder / "missing" / "model")),
        "load": (OSError, lambda: charrnn.load(folder / "missing")),
        "train_text": (TypeError, lambda: charrnn.train_text(5, preset="tutorial")),
        "train_text, no option": (
            TypeError,
            lambda: charrnn.train_text("ab", steppes=1, preset="tutorial"),
        ),
        "train_file": (
            ValueError,
            lambda: charrnn.train_file(folder / "latin-1", **TINY, preset="tutorial"),
        ),
        "train_records": (ValueError, lambda: charrnn.train_records([""], preset="tutorial")),
        "RNN": (ValueError, lambda: charrnn.RNN(0, 5, 3, 0.1)),
        "Vocabulary": (ValueError, lambda: charrnn.Vocabulary("aa")),
        "DataReader": (OSError, lambda: charrnn.DataReader(folder / "missing", 10)),
    }
    return {f"{name}, wrong": refused(*case) for name, case in wrong.items()}


def everything(model, records, folder):
    """Return all calls, by name, on a model of text and one of records."""
    write_files(folder, model)
    return {
        **uses(model, folder),
        **{f"{name}, records": call for name, call in uses(records, folder).items()},
        **trainings(model, folder),
        **trainings(records, folder),
        **functions(folder),
        **mistakes(model, folder),
    }
