"""Training further without forgetting: old text beside the new."""

import copy

import numpy as np
import pytest

import charrnn
from charrnn.data.dataset import Records
from charrnn.datasets import names, python_docs
from charrnn.network.learner import Learner
from plain import weights

OPTIONS = {
    "progress": False,
    "preset": "tutorial",
    "cell": "lstm",
    "hidden_size": 24,
    "batch_size": 4,
    "epochs": 3,
}
OLD, NEW = python_docs()[:20_000].lower(), "0123456789 " * 500


@pytest.fixture(scope="module")
def of_text():
    return charrnn.train_text(OLD, ngram=4, **OPTIONS)


@pytest.fixture(scope="module")
def of_records():
    return charrnn.train_records(names(), **OPTIONS)


def further(model, *arguments, **options):
    twin = copy.deepcopy(model)
    method = twin.train_records if model.vocabulary.records else twin.train_text
    return method(*arguments, progress=False, extend=True, epochs=4, **options)


@pytest.mark.parametrize("own", [False, True], ids=["given", "written"])
def test_the_old_text_is_not_forgotten(of_records, own):
    of_text = charrnn.train_text(OLD, **OPTIONS)
    reversed_names = [name[::-1] + "xx" for name in names()[::4]]
    for model, old, some, new in (
        (of_text, OLD, [OLD[:3000]], NEW),
        (of_records, names(), names(), reversed_names),
    ):
        before, forgetful, mindful = (
            one.score_many(some).mean()
            for one in (model, further(model, new), further(model, new, rehearse=own or old))
        )
        assert mindful < 1.05 * before < 1.1 * before < forgetful


def test_old_text_is_before_the_new_one_and_not_held_out(of_text):
    options = {"batch_size": 1, "epochs": 1, "validation_fraction": 0.2, "keep": "last", "seed": 5}
    options |= {"progress": False, "extend": True}
    cut = len(NEW) - int(len(NEW) * 0.2)
    for length, times in ((3000, 1), (12_000, 2)):
        with_old = copy.deepcopy(of_text).train_text(NEW, rehearse=OLD[:length], **options)
        both = OLD[:length] + NEW[:cut] * times
        joined = copy.deepcopy(of_text).train_text(both, **options | {"validation_fraction": 0})
        assert weights(with_old) == weights(joined)


def test_few_records_are_read_several_times_beside_many(of_records):
    source = Records.from_strings(["xan", "ox"], known=of_records.vocabulary, extend=True)
    source.old = Records.from_strings(["anna", "hanna", "bob"] * 2, known=source.vocabulary)
    learner = Learner([("rnn", 4)], source.vocabulary.symbols)
    stream = source.with_old(source.streams(learner, 0.0, 0)[0], learner, 0)
    read = []
    for window in range(stream.windows):
        targets = stream.read(window, 1)[1][:, 0]
        read.append(source.vocabulary.decode(targets[targets >= 0][:-1]))
    assert sorted(read) == sorted(["xan", "ox"] * 4 + ["anna", "hanna", "bob"] * 2)


def test_old_text_is_not_counted_again(of_text):
    options = {"rehearse": OLD[:3000], "epochs": 1, "progress": False, "extend": True}
    with_old = copy.deepcopy(of_text).train_text(NEW, **options)
    without = copy.deepcopy(of_text).train_text(NEW, **options | {"rehearse": False})
    np.testing.assert_equal(with_old.mixture.counts.arrays(), without.mixture.counts.arrays())


def test_files_train_like_what_is_in_them(of_text, of_records, tmp_path):
    (tmp_path / "new").write_text(NEW)
    (tmp_path / "old").write_text(OLD[:3000])
    for rehearse, given in ((tmp_path / "old", OLD[:3000]), (True, True)):
        found = copy.deepcopy(of_text).train_file(
            tmp_path / "new", rehearse=rehearse, extend=True, epochs=1, progress=False
        )
        assert weights(found) == weights(
            copy.deepcopy(of_text).train_text(
                NEW, rehearse=given, extend=True, epochs=1, progress=False
            )
        )
    (tmp_path / "new").write_text("xan\nxin\n" * 9)
    (tmp_path / "old").write_text("\n".join(names()[:50]))
    for rehearse, given in ((tmp_path / "old", names()[:50]), (True, True)):
        found = copy.deepcopy(of_records).train_file(
            tmp_path / "new", rehearse=rehearse, epochs=1, progress=False
        )
        twin = copy.deepcopy(of_records).train_records(
            ["xan", "xin"] * 9, rehearse=given, epochs=1, progress=False
        )
        assert weights(found) == weights(twin)


def test_a_checkpoint_is_of_both_texts(of_text, of_records, tmp_path):
    for model, new, old, other in (
        (of_text, NEW, OLD[:900], OLD[:901]),
        (of_records, ["xan"] * 30, names()[:50], names()[:51]),
    ):
        whole = further(model, new, rehearse=old)
        path = tmp_path / "checkpoint"
        twin = copy.deepcopy(model)
        method = twin.train_records if model is of_records else twin.train_text
        method(new, rehearse=old, extend=True, epochs=2, progress=False, checkpoint=path)
        assert weights(further(model, new, rehearse=old, resume=path)) == weights(whole)
        with pytest.raises(ValueError, match="the text is another"):
            further(model, new, rehearse=other, resume=path)


def test_mistakes(of_text, of_records):
    for model, new, old, message in (
        (of_text, NEW, "Ünknown", "characters that the model does not know"),
        (of_text, NEW, 5, "must be a str"),
        (of_records, ["xan"], "a text", "sequence"),
        (of_records, ["xan"], [], "no character"),
    ):
        before, train = (
            weights(model),
            model.train_records if model is of_records else model.train_text,
        )
        with pytest.raises((ValueError, TypeError), match=message):
            train(new, rehearse=old, extend=True)
        assert weights(model) == before
