"""The list of calls in calls.py has every public function, and each call works."""

import inspect

import calls
import charrnn


def public_functions():
    """The names of the functions of charrnn, and of the methods of its model and network."""
    for name in charrnn.__all__:
        thing = getattr(charrnn, name)
        if inspect.isfunction(thing):
            yield name
    for kind in (charrnn.CharRNN, charrnn.RNN):
        for name, _ in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                yield f"{kind.__name__}.{name}"


def test_the_list_has_every_public_function_and_each_call_works_twice(tmp_path):
    model, records = calls.text_model(), calls.record_model()
    known = calls.everything(model, records, tmp_path)
    assert {*public_functions()} <= {*known}
    unchanged = calls.digest([model, records])
    for name, call in {**calls.uses(model, tmp_path), **calls.uses(records, tmp_path)}.items():
        assert calls.digest(call()) == calls.digest(call()), name
    assert calls.digest([model, records]) == unchanged
    for call in known.values():
        call()
