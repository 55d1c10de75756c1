"""How many generated molecules RDKit accepts, by preset and temperature.

    pip install rdkit
    python benchmarks/molecules.py

Models are trained on the 5,000 molecules of the National Cancer Institute that RDKit comes with.
"""

import random
from pathlib import Path

from rdkit import Chem, RDConfig, RDLogger

import charrnn

SAMPLES = 1000


def molecules():
    """Return the distinct SMILES strings, in a random order."""
    lines = Path(RDConfig.RDDataDir, "NCI", "first_5K.smi").read_text(encoding="utf-8").splitlines()
    known = sorted({line.split()[0] for line in lines if line.strip()})
    random.Random(0).shuffle(known)
    return known


def main():
    """Print the shares of valid, distinct and new molecules, as a table of Markdown."""
    RDLogger.DisableLog("rdApp.*")
    known = molecules()
    print("| preset | temperature | valid | of these distinct | of these new |")
    print("|---|---|---|---|---|")
    for preset in ("auto", "small", "tutorial"):
        model = charrnn.train_records(known, preset=preset)
        for temperature in (0.7, 1.0):
            written = model.generate_many(SAMPLES, 200, temperature=temperature, seed=0)
            valid = [one for one in written if one and Chem.MolFromSmiles(one) is not None]
            different = {*valid}
            shares = [len(valid) / SAMPLES, len(different) / len(valid)]
            shares.append(len(different - {*known}) / len(different))
            print(f"| {preset} | {temperature} | {' | '.join(f'{x:.0%}' for x in shares)} |")


if __name__ == "__main__":
    main()
