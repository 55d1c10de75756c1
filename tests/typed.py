"""Code that uses the whole public interface as its documentation says: test_types.py has type
checkers read it, and runs it.
"""

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import charrnn
import charrnn.testing
from charrnn import CharRNN, DataReader, History, Progress, Vocabulary
from charrnn.browser import Exported
from charrnn.inference.adapting import LiveModel
from charrnn.inference.ranking import Ranks
from charrnn.network import Network
from charrnn.trace import Trace, Unit
from charrnn.trace.properties import properties


def installed(*names: str) -> bool:
    return all(map(importlib.util.find_spec, names))


def watch(progress: Progress) -> bool:
    numbers: tuple[int, float, int, float, float, float, float | None] = (
        progress.step,
        progress.epoch,
        progress.characters,
        progress.seconds,
        progress.nll,
        progress.smooth_loss,
        progress.validation_nll,
    )
    sample: str = progress.model.generate(5)
    return numbers[0] > 40 and bool(sample) and progress.bpc + progress.perplexity > 1e6


def train(folder: Path) -> CharRNN:
    path = folder / "input.txt"
    path.write_text("to be, or not to be\n" * 20, encoding="utf-8")
    model = charrnn.train_file(
        path,
        alphabet="characters",
        cell="rnn",
        hidden_size=8,
        n_layers=1,
        seq_length=20,
        batch_size=2,
        dropout=0.0,
        optimizer="adagrad",
        learning_rate=0.1,
        weight_decay=0.0,
        clip_value=5,
        clip_norm=None,
        initial_accumulator_value=10.0,
        precision="bfloat16",
        dtype="float32",
        seed=None,
        n_threads=2,
        shards=None,
        ngram=0,
        min_count=1,
        min_char_count=2,
        comm=None,
        epochs=9,
        steps=30,
        seconds=60.0,
        validation_fraction=0.2,
        validation_pieces=2,
        refit=False,
        keep="best",
        patience=8,
        schedule="constant",
        warmup=0,
        learning_rate_decay=0.99,
        callback=watch,
        sample_every=1000,
        progress=False,
        checkpoint=folder / "checkpoint",
        resume=None,
    )
    same: CharRNN[str] = model.train_text(
        "or not", steps=2, extend=True, progress=False, keep="last"
    )
    same.train_file(str(path), steps=2, progress=False)
    resumed: CharRNN[str] = charrnn.train_text(
        "to be " * 20, steps=3, progress=False, checkpoint=str(folder / "c"), preset="tutorial"
    )
    charrnn.train_text(
        "to be " * 20, steps=5, progress=False, resume=folder / "c", preset="tutorial"
    )
    with model.adapt("or not").adapting() as live:
        adapting: LiveModel[str] = live
        adapting.begin()
        assert adapting.score("to be") > 0
        adapting.rollback()
    assert model.recipe["seed"] == 0 or model.history.estimate is None
    return resumed if resumed.history.steps > 10**6 else model


def networks() -> list[str]:
    text = "to be, or not to be\n" * 20
    gated = charrnn.train_text(
        text,
        cell="gru",
        n_layers=2,
        hidden_size=8,
        dropout=0.1,
        optimizer="adam",
        schedule="cosine",
        warmup=5,
        steps=20,
        progress=False,
        preset="tutorial",
    )
    long: CharRNN[str] = charrnn.train_text(
        text, preset="small", cell="lstm", hidden_size=8, steps=2, batch_size=2, progress=False
    )
    plain = charrnn.train_text(
        text,
        optimizer="sgd",
        clip_norm=1.0,
        schedule="linear",
        steps=3,
        batch_size=2,
        shards=2,
        progress=False,
        preset="tutorial",
    )
    plain.train_text(text, optimizer="rmsprop", weight_decay=0.1, steps=3, progress=False)
    gates: list[Unit] = long.trace("to be").units(part="f")
    return [gated.generate(3, seed=1), plain.generate(3), gates[0].part]


def records() -> list[str]:
    names = charrnn.train_records(
        ["anna", "susanna"] * 20,
        remember=True,
        hidden_size=8,
        steps=50,
        progress=False,
        preset="tutorial",
    )
    ranks: Ranks = names.rank(["anna"], seed=1)
    guesses: NDArray[np.float64] = ranks.guesses
    words: list[tuple[str, float]] = names.score_words("anna")
    assert len(guesses) == len(words) == 1
    names.train_records(iter(["hanna"]), steps=2, progress=False, extend=True, remember=True)
    return names.generate_many(
        3, 10, unique=True, novel=True, whole=True, prime="a", seed=1, min_length=1
    )


def use_bytes(folder: Path) -> bytes:
    model = charrnn.train_file(
        folder / "input.txt",
        alphabet="bytes",
        hidden_size=8,
        steps=3,
        progress=False,
        preset="tutorial",
    )
    again: CharRNN[bytes] = charrnn.train_text(
        b"to be", alphabet="bytes", hidden_size=8, steps=3, progress=False, preset="tutorial"
    )
    charrnn.train_records(
        [b"to", b"be"], alphabet="bytes", hidden_size=8, steps=3, progress=False, preset="tutorial"
    )
    again.save(folder / "bytes")
    written: bytes = charrnn.load(folder / "bytes", alphabet="bytes").generate(
        5, prime=b"to", stop=b"\n"
    )
    return written + model.generate(3) + b"".join(model.stream(3))


def write(model: CharRNN) -> str:
    text: str = model.generate(
        20,
        prime="to",
        seed=1,
        temperature=0.8,
        top_k=5,
        top_p=0.9,
        min_p=0.01,
        no_repeat=9,
        allowed=None,
        forbidden="x",
        min_length=3,
        stop=["\n", "."],
        on_unknown="skip",
    )
    characters: Iterator[str] = model.stream(prime="to", seed=1)
    first: tuple[str, float] = next(
        model.likeliest(5, max_length=9, threshold=-40.0, prime="t", allowed="tobe ", min_length=1)
    )
    best: list[tuple[str, float]] = model.beam_search(
        5, n_best=2, width=4, prime="t", allowed="tobe ", min_length=1, on_unknown="error"
    )
    return text + next(characters) + best[0][0] + first[0]


def score(model: CharRNN) -> float:
    bits: float = model.score("to be")
    counted: tuple[float, int] = model.score(
        "to bé", context="or", on_unknown="surprise", return_unknown=True
    )
    many: NDArray[np.float64] = model.score_many(["to", "be"], context="\n", on_unknown="skip")
    both: tuple[NDArray[np.float64], NDArray[np.int64]] = model.score_many(
        ["to"], return_unknown=True
    )
    nats = model.log_probs("to be", context="o") + model.next_probs("to").max()
    return bits + counted[0] + float(many.sum() + both[0].sum() + nats.sum())


def inside(model: CharRNN, octets: CharRNN[bytes], folder: Path) -> int:
    trace = model.trace("to be", top=3, context="or ", on_unknown="skip")
    states: NDArray[np.floating[Any]] = trace.states[0]
    likely: list[tuple[str, float]] = trace.likeliest(0)
    unlikely: list[tuple[bytes, float]] = octets.trace(b"to").likeliest(1)
    moved: NDArray[np.float64] = trace.saliency(3, back=2) + trace.saliencies(0, 3, 2)[2]
    best: Unit = trace.units(part="h")[0]
    number: int = best.layer + best.number
    found: tuple[str, float] = (best.follows, best.correlation)
    trace.units({"even": np.arange(5) % 2})
    named: dict[str, NDArray[np.float64]] = trace.properties | properties("to be")
    parts: tuple[dict[str, NDArray[np.floating[Any]]], ...] = trace.parts
    names: tuple[str, ...] = trace.part_names
    bits: NDArray[np.float64] = trace.surprise
    if installed("matplotlib"):
        drawn: list[Unit] = trace.plot(0, 4, units=2, part="h").units
        assert len(drawn) == 2
    trace.save_html(folder / "page.html", title="to be", units=3, back=2, parts=["h"])
    cut: Trace[str] = trace[1:3]
    text: str = cut.text + trace.html()
    assert found[0] in named
    return (
        number
        + len(trace)
        + len(states)
        + len(likely)
        + len(unlikely)
        + len(moved)
        + len(parts)
        + len(names)
        + len(bits)
        + len(text)
    )


def keep(model: CharRNN, folder: Path) -> CharRNN:
    model.save(folder / "model.safetensors")
    same: CharRNN[str] = CharRNN[str].from_pretrained(folder)
    if folder.name == "hub":  # nobody uploads here
        address: str = same.push_to_hub("user/names", private=True)
        return CharRNN[str].from_pretrained(address)
    same.save(folder / "model")
    data = (folder / "model").read_bytes()
    packed: bytes = charrnn.compress(data)
    data = charrnn.decompress(packed, model=None)
    loaded = charrnn.load(data)
    written: str = loaded.generate(3)
    if installed("charrnn_models"):
        ready: CharRNN[str] = charrnn.pretrained("names")
        written += ready.generate(3)
    with open(folder / "model", "rb") as file:
        charrnn.load(file, alphabet="characters")
    return charrnn.load(io.BytesIO(data)) if written else loaded


def elsewhere(model: CharRNN, folder: Path) -> CharRNN[Any]:
    exported: Exported = model.save_js(folder / "model.js", weights="float16")
    size: int = exported.size + exported.compressed
    assert size
    assert exported.cost < 1
    if not installed("torch", "onnx"):
        return model
    model.to_onnx(folder / "model.onnx")
    return charrnn.from_torch(model.to_torch(), model.vocabulary)


def estimators() -> float:
    if not installed("sklearn"):
        return 1.0
    from charrnn.sklearn import CharRNNClassifier, CharRNNDensity, CharRNNOutlierDetector

    X, y = ["anna", "hanna", "susanna", "bob", "jacob"], ["f", "f", "f", "m", "m"]
    density = CharRNNDensity(
        cell="rnn",
        hidden_size=8,
        steps=9,
        alphabet="characters",
        on_unknown="surprise",
        random_state=0,
        preset="tutorial",
    ).fit(X)
    drawn: NDArray[np.object_] = density.sample(2, random_state=1, max_length=9, temperature=0.5)
    nats: NDArray[np.float64] = density.score_samples(X)
    model: CharRNN[Any] = density.model_
    detector = CharRNNOutlierDetector(
        hidden_size=8,
        steps=9,
        contamination=0.1,
        calibration_fraction=0.5,
        total=True,
        missing="nan",
        preset="tutorial",
    ).fit(X)
    signs: NDArray[np.int_] = detector.predict(X) + detector.fit_predict(X)
    nats = (
        nats
        + detector.score_samples(X)
        + detector.decision_function(X)
        + detector.transform(X)[:, 0]
        + signs
    )
    bits: NDArray[np.float64] = density.transform(X)
    assert bits.shape == detector.fit_transform(X).shape == (len(X), 1)
    classifier = CharRNNClassifier(
        hidden_size=8,
        steps=9,
        keep="last",
        on_unknown="skip",
        priors=[0.5, 0.5],
        n_jobs=None,
        preset="tutorial",
    ).fit(X, y)
    p: NDArray[np.float64] = (
        classifier.predict_proba(X)
        + classifier.predict_log_proba(X)
        + classifier.predict_joint_log_proba(X)
    )
    accuracy: float = classifier.score(X, y)
    models: list[CharRNN[Any]] = classifier.models_
    assert (
        len(drawn) == len(models) == len(classifier.classes_) == len(classifier.class_prior_) == 2
    )
    assert len(classifier.predict(X)) == len(X)
    return accuracy + density.score(X) + float(nats.sum() + p.sum()) + model.score("anna")


def engine(model: CharRNN) -> float:
    network: Network = model.network
    work = network.workspace(4, 1, training=True)
    inputs, targets = np.array([[0], [1], [2]]), np.array([[1], [2], [3]])
    losses: NDArray[np.float64] = network.train_steps(
        work, inputs, targets, learning_rate=0.01, clip_value=5.0
    )
    nll, gradient = network.gradient(work, inputs, targets)
    name: str = min(gradient.views())
    network.feed(work, inputs)
    ids: NDArray[np.int32] = network.draw(
        work, 3, np.array([1], np.uint64), temperature=0.8, top_k=3
    )
    allowed, wide = np.ones(network.description.vocab_size, np.int8), network.workspace(2, 2)
    found, _, scores, _ = network.search(
        wide, 2, np.array([0.0, -np.inf]), np.zeros(2, np.int8), allowed, -1
    )
    after: NDArray[np.float64] = network.next_probs(work)[0] - network.next_nll(work, [0])
    after += network.next_log_probs(work)[0]
    layers: list[tuple[str, int]] = [
        (layer.cell, layer.units) for layer in network.description.layers
    ]
    count: int = network.description.n_parameters + len(layers) + len(name)
    return (
        float(
            sum(
                x.sum()
                for x in (
                    losses,
                    nll,
                    ids,
                    found,
                    scores,
                    after,
                    network.evaluate(work, inputs, targets),
                )
            )
        )
        + count
    )


def checked(model: CharRNN) -> int:
    held: list[str] = charrnn.testing.check_model(model)
    return len(held) - len(charrnn.testing.checks(model))


def look(model: CharRNN) -> tuple[History, Vocabulary, str]:
    history, vocabulary = model.history, model.vocabulary
    kept: Progress | None = history.kept
    assert kept is not None
    assert model.index is None
    history.add(kept)
    history = History.from_dict(history.to_dict() | {"reports": history.to_dict()["reports"][:-1]})
    if installed("matplotlib", "pandas"):
        shown: History = history.plot().history
        assert shown is history
        rows: int = len(history.to_frame())
        assert rows == len(history.reports)
    reason: str | None = history.stop_reason
    losses: list[float] = [*history.losses, *history.validation_losses]
    shorter: History = history.thinned()
    assert len(shorter.reports) <= len(history.reports)
    if model.mixture is not None:
        weight: float = model.mixture.counts_weight
        assert weight >= 0
    steps: int = history.steps + (history.kept_step or 0) + len(losses)
    ids = vocabulary.encode("to be", on_unknown="skip")
    text: str = vocabulary.decode(ids)
    larger: Vocabulary = Vocabulary.from_text("to be", records=False).extended(
        vocabulary.missing("to be") + "x"
    )
    unknown: int = larger.ids_and_unknown("xyz")[1]
    assert unknown >= 0
    codes: NDArray[np.int32] = larger.lookup("xyz") + larger.of_codes(np.array([1, 2, 3]))
    shared: Vocabulary = larger.with_rare("x")
    nats: NDArray[np.float64] = shared.rare_nats(codes)
    assert shared.rare == "x"
    assert len(nats) == len(codes) + shared.rare_id - len(shared.chars) + 1
    symbols: int = (
        larger.symbols
        + len(Vocabulary.all_bytes().empty)
        + np.dtype(larger.smallest_dtype).itemsize
        + len(codes)
    )
    assert larger.check("text", "to be")
    assert symbols > len(vocabulary)
    return (
        model.history,
        vocabulary,
        f"{reason} {steps} {text} {vocabulary.chars} {len(vocabulary)} {charrnn.isa} "
        f"{model.network.description}",
    )


def lesson(folder: Path) -> str:
    with DataReader(folder / "input.txt", seq_length=10) as reader:
        rnn = charrnn.RNN(
            8,
            reader.vocab_size,
            reader.seq_length,
            0.1,
            batch_size=1,
            clip_value=5.0,
            dtype="float64",
            seed=0,
            n_threads=1,
        )
        assert reader.just_started()
        inputs, targets = reader.next_batch()
        xs, hs, ps = rnn.forward(inputs, np.zeros((8, 1)))
        loss: float = rnn.loss(ps, targets)
        rnn.update_model(*rnn.backward(xs, hs, ps, targets))
        history: History = rnn.train(reader, steps=3, threshold=loss / 1000, callback=None)
        ids: list[int] = rnn.sample(hs[len(inputs) - 1], 0, 3)
        norms: NDArray[np.float64] = rnn.gradient_norms(inputs, targets[-1], np.zeros((8, 1)))
        letters: list[NDArray[np.floating[Any]]] = [
            rnn.U,
            rnn.W,
            rnn.V,
            rnn.b,
            rnn.c,
            rnn.mU,
            rnn.mW,
            rnn.mV,
            rnn.mb,
            rnn.mc,
        ]
        size: int = rnn.hidden_size * (2 * rnn.vocab_size + rnn.hidden_size + 1) + rnn.vocab_size
        assert sum(letter.size for letter in letters) == 2 * size
        assert len(norms) == len(inputs)
        assert rnn.softmax(rnn.c).dtype == rnn.dtype
        reader.close()
        return rnn.predict(reader, "to", 5) + str(ids) + str(history.steps) + str(rnn.W.shape)


def mistakes(model: CharRNN) -> list[str]:
    found = list[str]()
    try:
        model.score("☃")
    except ValueError as error:
        found.append(str(error))
    try:
        charrnn.train_text(
            "to be " * 20, learning_rate=3.4e38, steps=9, progress=False, preset="tutorial"
        )
    except charrnn.DivergedError as error:
        found.append("" if error.model is None else error.model.generate(1))
    except (
        charrnn.ModelFormatError,
        charrnn.CodecError,
        charrnn.RankError,
        charrnn.TrainingInterrupted,
        charrnn.CharRNNError,
        charrnn.TrainingWarning,
    ):
        raise
    return found


def texts(folder: Path) -> int:
    names: list[str] = charrnn.datasets.names()
    try:
        charrnn.datasets.tiny_shakespeare(folder / "input.txt")
    except ValueError:  # it is another text
        names.sort()
    return len(names) + len(charrnn.datasets.python_docs())


def main(folder: Path) -> None:
    model = train(folder)
    assert records()
    assert networks()
    assert use_bytes(folder)
    assert write(model)
    assert score(model) > 0
    octets = charrnn.train_text(
        b"to be", alphabet="bytes", hidden_size=8, steps=3, progress=False, preset="tutorial"
    )
    assert inside(model, octets, folder) > 9
    assert repr(keep(model, folder)) == repr(model)
    assert elsewhere(model, folder).score("to be") > 0
    assert estimators() != 0
    assert (
        engine(
            charrnn.train_text(
                "to be, or not", hidden_size=8, steps=3, progress=False, preset="tutorial"
            )
        )
        > 0
    )
    assert checked(model) == 0
    assert look(model)[0] is model.history
    assert lesson(folder).startswith("to")
    assert len(mistakes(model)) == 2
    assert texts(folder) > 100_000
