"""The same bits from C and from Python."""

import numpy as np
from surprise import most_likely, surprises

import charrnn

text = "to be, or not to be, that is the question: " * 20
model = charrnn.train_text(text, hidden_size=40, epochs=20, seed=1, progress=False)

ids = model.vocabulary.encode(text)[:, None]
from_python = model.network.evaluate(model.network.workspace(25, 1), ids[:-1], ids[1:])[:, 0]
from_c = surprises(model, text)
assert from_c.tobytes() == np.ascontiguousarray(from_python).tobytes()

assert most_likely(model, "to be", 40) == model.generate(40, prime="to be", temperature=0)
print(f"{charrnn.isa}: {len(from_c)} losses and 40 characters, the same bits from C as from Python")
