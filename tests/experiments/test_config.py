"""Settings: the three scales, and one line for every mistake."""

import copy
from pathlib import Path

import pytest
import yaml

from experiments.runs.errors import UserError
from experiments.runs.sources import SOURCES, source_files
from experiments.runs.validation import read_yaml
from experiments.scale import Settings, load

SCALES = ["smoke", "laptop", "paper"]


def keys(value, prefix=""):
    """All keys of nested mappings, lists left aside, and nothing below methods, which a scale chooses."""
    if not isinstance(value, dict) or prefix.endswith("methods."):
        return set()
    return {prefix + key for key in value} | set().union(*(keys(v, f"{prefix}{key}.") for key, v in value.items()))


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_is_valid_and_named_as_its_file(scale):
    assert load(f"config/{scale}.yaml").scale == scale


def test_the_scales_have_the_same_keys():
    first, *others = (keys(read_yaml(f"config/{scale}.yaml")) for scale in SCALES)
    assert all(other == first for other in others)


def test_every_setting_is_described():
    def undescribed(model):
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from undescribed(field.annotation)
            elif not field.description and name not in ("gradient_descent",):
                yield name

    assert list(undescribed(Settings)) == []


def change(path, value):
    values = yaml.safe_load(open("config/smoke.yaml", encoding="utf-8"))
    target = values
    *parents, last = path
    for parent in parents:
        target = target[parent]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["introvae", "epoch"], 3, "introvae.epoch: unknown key, did you mean epochs?"),
        (["introvae", "epochs"], -1, "introvae.epochs: Input should be greater than 0, got -1"),
        (["introvae", "epochs"], "many", "introvae.epochs: Input should be a valid integer"),
        (["introvae", "epochs"], None, "introvae.epochs: key is missing"),
        (["introvae", "report_epochs"], [1, 2, 3, 9], "introvae: report_epochs [1, 2, 3, 9] must increase and end by"),
        (["introvae", "image_size"], 24, "introvae: image_size must be a power of two, got 24"),
        (["introvae", "niqe_block_size"], 32, "introvae: niqe_block_size 32 must be even and fit into 16 px"),
        (["introvae", "methods", "fixed", "margin"], None, "introvae.methods.fixed.margin: key is missing"),
        (["introvae", "dataset"], "lena", "introvae.dataset: Input should be 'orl-faces' or 'celeba', got 'lena'"),
        (
            ["introvae", "methods", "fixed", "encoder"],
            {"rule": "magic"},
            "softadapt, softadapt_swapped, uncertainty, got 'magic'",
        ),
        (
            ["sparse_autoencoder", "train_images"],
            59900,
            "sparse_autoencoder: train_images and validation_images exceed",
        ),
        (["digit_classifier", "batch_size"], 20000, "batch_size 20000 exceeds train_images 12000; lower batch_size"),
        (["gradient_descent", "illustrated_beta"], 0.3, "illustrated_beta 0.3 must be one of betas"),
        (["gradient_descent", "step_sizes", "lowest"], 100.0, "step_sizes.lowest must be below"),
        (["gradient_descent", "step_sizes", "hihgest"], 1.0, "hihgest: unknown key, did you mean highest?"),
        (["digit_classifier"], None, "settings: sparse_autoencoder needs its judge digit_classifier"),
        (["sparse_autoencoder"], None, "digit_classifier; give both sections or neither"),
        (["colour"], 1, "colour: unknown key; known are scale, data_dir"),
    ],
)
def test_a_mistake_is_one_line_naming_file_and_key(tmp_path, path, value, message):
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(change(path, value)), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_scale_may_leave_experiments_out(faces_config):
    settings = load(faces_config)
    assert settings.experiments == ["introvae"]
    assert not settings.complete
    assert all(load(f"config/{scale}.yaml").complete for scale in SCALES)


def test_a_scale_without_any_experiment_is_a_mistake(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("{scale: empty, data_dir: data}", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"empty\.yaml: settings: no experiment; give at least one of the sections grad"
    ):
        load(file)


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2\n", "\x00"])
def test_a_file_that_is_no_mapping_is_one_line(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"bad\.yaml") as error:
        load(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_fixed_lambdas_become_methods():
    settings = load("config/laptop.yaml").sparse_autoencoder
    methods = settings.all_methods()
    assert methods["lambda-0.0001"].weighting == {"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": 1e-4}}
    assert len(methods) == len(settings.lambdas) + len(settings.methods)
    assert max(settings.lambdas) / min(settings.lambdas) >= 1e4


def test_sources_exist_for_every_experiment():
    for experiment in (
        "gradient_descent",
        "digit_classifier",
        "sparse_autoencoder",
        "introvae",
        "niqe_collapse",
        "five_rules",
        "step_cost",
    ):
        assert any(path.stem == experiment for path in source_files(experiment))


def test_every_source_is_there_and_what_makes_the_images_is_a_source():
    root = Path(__file__).parents[2]
    for patterns in SOURCES.values():
        assert all(any(root.glob(pattern)) for pattern in patterns)
    images = {"faces.py", "orl_faces.py", "niqe.py", "niqe_live_model.npz"}
    assert images <= {path.name for path in source_files("niqe_collapse")}
    assert images | {"celeba.py"} <= {path.name for path in source_files("introvae")}


def test_settings_do_not_change_after_loading():
    settings = load("config/smoke.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.scale = "other"
    assert copy.deepcopy(settings) == settings
