"""A small finished scale: one run of the NIQE audit, written by hand as `Run.finish` does, and its analysis."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from experiments.evidence import claims, figures, rows, tables
from experiments.runs.files import sha256, write_json
from experiments.runs.folder import config_hash
from experiments.runs.sources import code_fingerprint
from experiments.scale import load

ROOT = Path(__file__).parent.parent.parent
SCALE = "made"
CONFIG = f"config/{SCALE}.yaml"
RUN = Path(f"results/{SCALE}/runs/niqe_collapse/default/seed-0")
FACES = "data/orl-faces/images.npy"
BLURS = [0.0, 0.7]


def lay_out(folder: Path) -> None:
    """Lay out data, sources and the one run of a scale with the NIQE audit alone in `folder`, the working directory."""
    Path(FACES).parent.mkdir(parents=True)
    Path(FACES).write_bytes(b"faces" * 1000)
    (folder / "paper").mkdir()
    for name in ("published.yaml", "claims.yaml", "tolerances.yaml"):
        (folder / "paper" / name).write_text((ROOT / "paper" / name).read_text())
    section = {"seed": 0, "image_size": 96, "images": 2, "crops": 42, "blurs": BLURS}
    (folder / "config").mkdir()
    Path(CONFIG).write_text(yaml.safe_dump({"scale": SCALE, "data_dir": "data", "niqe_collapse": section}))
    make_run()


def make_run(seconds: float = 1.5) -> None:
    """Write the run folder as `Run.finish` does."""
    RUN.mkdir(parents=True, exist_ok=True)
    config = {"experiment": "niqe_collapse", "seed": 0, "settings": {"images": 2}}
    config["code"] = code_fingerprint("niqe_collapse")
    (RUN / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    sets = ["faces", *(f"natural crops, blur {blur:g}" for blur in BLURS)]
    history = pd.DataFrame({"set": np.repeat(sets, 2), "score": 39.8, "mean": np.linspace(0, 1, 6), "variance": 0.5})
    history.to_csv(RUN / "history.csv", index=False)
    metrics = {"c": 39.8, "m0": 0.0, "s": 0.5, "largest_error_of_closed_form": 2e-10}
    metrics |= {"lowest_score": 39.8, "highest_score": 39.8}
    write_json(
        RUN / "metrics.json", metrics | {"pooled": {"natural crops, blur 0": 2.2, "natural crops, blur 0.7": 3.2}}
    )
    np.savez_compressed(RUN / "samples.npz", noise=np.zeros(3))
    names = ("config.yaml", "history.csv", "metrics.json", "samples.npz")
    provenance = {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False, "python": "3.11.7", "gpu": None}
    provenance |= {"versions": {"numpy": "2.4.6"}, "system": "Linux x86_64", "cpu": "a processor", "threads": 1}
    provenance |= {"cpu_capability": "avx avx2"}
    provenance |= {"data": {"orl-faces/images.npy": sha256(FACES)}, "times": {"total": seconds}}
    provenance |= {"config_hash": config_hash(config), "files": {name: sha256(RUN / name) for name in names}}
    write_json(RUN / "provenance.json", provenance)


def command(monkeypatch, module, *words: str) -> None:
    """Run an analysis command in this process."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *words, "--config", CONFIG])
    module.main()


def analyse(monkeypatch) -> None:
    """Run the commands of the workflow that this scale has."""
    command(monkeypatch, rows, "niqe_collapse")
    command(monkeypatch, tables, "niqe_collapse")
    command(monkeypatch, figures, "niqe_collapse")
    command(monkeypatch, claims)


def flip_a_byte(path: Path | str) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)


def fingerprint_of(path: Path | str) -> str:
    """SHA-256, computed otherwise than in the suite."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def scale():
    """Its settings."""
    return load(CONFIG)
