"""Learn the SMILES notation of molecules, then count how many generated ones are well formed."""

import random

import charrnn

rng = random.Random(0)


def chain(depth):
    """A chain of atoms, some with a branch in brackets, some a ring."""
    parts = []
    for _ in range(rng.randint(1, 4)):
        parts.append(rng.choice(["C", "C", "C", "N", "O", "C=C", "S", "c1ccccc1", "C1CCCC1"]))
        if depth and rng.random() < 0.3:
            parts.append(f"({chain(depth - 1)})")
    return "".join(parts)


def is_well_formed(smiles):
    """Check that brackets close and ring bonds come in pairs."""
    depth = 0
    for char in smiles:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth < 0:
            return False
    return depth == 0 and smiles.count("1") % 2 == 0 and smiles != ""


known = {chain(2) for _ in range(6000)}
model = charrnn.train_records(sorted(known), epochs=8, seed=1)
samples = model.generate_many(500, 120, temperature=0.8, seed=1)
new = [smiles for smiles in samples if smiles not in known]
print("\n".join(sorted(set(new), key=lambda smiles: (len(smiles), smiles))[60:65]))
well_formed = sum(map(is_well_formed, samples)) / len(samples)
print(f"{well_formed:.0%} of {len(samples)} well formed, {len(new) / len(samples):.0%} new")
