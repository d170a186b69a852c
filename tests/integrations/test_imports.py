"""The library itself imports no framework; an integration without its framework says what to install."""

import importlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.whole

FRAMEWORKS = ("lightning", "pytorch_lightning", "transformers", "accelerate")


def test_softadapt_imports_no_framework():
    code = f"import softadapt, sys; print([name for name in {FRAMEWORKS} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("integration", "absent", "remedy"),
    [
        ("lightning", ["lightning.pytorch", "pytorch_lightning"], "pip install lightning"),
        ("transformers", ["transformers"], "pip install transformers accelerate"),
    ],
)
def test_without_its_framework_an_integration_names_the_remedy(monkeypatch, integration, absent, remedy):
    module = f"softadapt.integrations.{integration}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises
    with pytest.raises(ImportError, match=remedy):
        importlib.import_module(module)
