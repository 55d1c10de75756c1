"""The train functions as most tests need them: by the tutorial's preset, without progress; and the
weights of a model, to compare.
"""

import charrnn

_USUAL = {"preset": "tutorial", "progress": False}


def train_text(text, **options):
    return charrnn.train_text(text, **{**_USUAL, **options})


def train_file(path, **options):
    return charrnn.train_file(path, **{**_USUAL, **options})


def train_records(strings, **options):
    return charrnn.train_records(strings, **{**_USUAL, **options})


def weights(model):
    return model.network.weights.block.tobytes()
