"""Runs a module as ``python -m`` does, on made data: ``launcher.py CHECKSUMS.json MODULE ARGUMENT...``."""

import json
import runpy
import sys
from pathlib import Path

from experiments.data import mnist, orl_faces

checksums, module, *arguments = sys.argv[1:]
mnist.CHECKSUMS, orl_faces.CHECKSUM = json.loads(Path(checksums).read_text(encoding="utf-8"))
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
