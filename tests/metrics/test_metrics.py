"""PSNR, SSIM and PCC against independent implementations."""

import math
from pathlib import Path

import numpy as np
import piq
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from experiments.metrics.classification import load_classifier, percent_correctly_classified
from experiments.metrics.psnr import psnr
from experiments.metrics.sliced_wasserstein import sliced_wasserstein
from experiments.metrics.ssim import ssim
from experiments.runs.errors import UserError


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, 3, 24, 20, generator=generator)
    return x, (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def test_psnr_agrees_with_scikit_image_and_with_piq_below_60_db(pair):
    x, y = pair
    ours = psnr(x, y)
    assert ours.dtype == torch.float64
    assert ours.shape == (5,)
    for value, a, b in zip(ours, x, y, strict=True):
        assert value.item() == pytest.approx(
            peak_signal_noise_ratio(a.double().numpy(), b.double().numpy(), data_range=1)
        )
    torch.testing.assert_close(ours, piq.psnr(x.double(), y.double(), reduction="none"), rtol=1e-5, atol=0)


def test_psnr_is_exact_where_piq_is_not():
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    assert psnr(x, x + 1e-5).item() == pytest.approx(100)
    assert psnr(x, x).item() == math.inf


def test_ssim_agrees_with_scikit_image_inside_the_border(pair):
    x, y = pair
    for value, a, b in zip(ssim(x, y), x, y, strict=True):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
        _, full = structural_similarity(a.double().numpy(), b.double().numpy(), data_range=1, channel_axis=0, **options)
        assert value.item() == pytest.approx(full[:, 5:-5, 5:-5].mean(), abs=1e-6)


def test_ssim_of_equal_images_is_one_and_a_batch_is_its_images(pair):
    x, y = pair
    torch.testing.assert_close(ssim(x, x), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y)[2:3], ssim(x[2:3], y[2:3]))


@pytest.mark.parametrize("metric", [psnr, ssim, sliced_wasserstein])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 13), "share a shape"),
        (torch.zeros(1, 12, 12), torch.zeros(1, 12, 12), "share a shape"),
        (torch.zeros(0, 1, 12, 12), torch.zeros(0, 1, 12, 12), "must have pixels"),
        (torch.zeros(1, 1, 12, 12, dtype=torch.uint8), torch.zeros(1, 1, 12, 12), "uint8"),
        (torch.zeros(1, 1, 12, 12), torch.full((1, 1, 12, 12), 1.5), "1.5"),
        (torch.full((1, 1, 12, 12), math.nan), torch.zeros(1, 1, 12, 12), "nan"),
    ],
)
def test_metrics_refuse_what_they_cannot_judge(metric, x, y, message):
    with pytest.raises(ValueError, match=message):
        metric(x, y)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="11 px"):
        ssim(torch.zeros(1, 1, 10, 30), torch.zeros(1, 1, 10, 30))


class Brightest(torch.nn.Module):
    """Calls an image by the row block that is brightest."""

    def forward(self, images):
        return images.flatten(1)[:, :10]


def test_percent_correctly_classified_counts_and_restores_the_mode():
    images = torch.zeros(7, 1, 28, 28)
    images.flatten(1)[torch.arange(7), torch.arange(7)] = 1
    labels = torch.tensor([0, 1, 2, 3, 0, 0, 6])
    classifier = Brightest().train()
    assert percent_correctly_classified(classifier, images, labels, batch_size=3) == pytest.approx(100 * 5 / 7)
    assert classifier.training
    with pytest.raises(ValueError, match="7 and 6"):
        percent_correctly_classified(classifier, images, labels[:6])


def test_a_missing_classifier_names_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"experiments\.digit_classifier"):
        load_classifier(tmp_path)


def test_a_damaged_classifier_is_named_with_the_reason(tmp_path):
    """Weights of another network, and a file that is no archive."""
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / name).write_text("{}")
    for damage, reason in ((lambda path: torch.save({}, path), "Error.s. in loading"), (Path.touch, "not a zip file")):
        damage(tmp_path / "weights.pt")
        with pytest.raises(UserError, match=rf"weights.pt: damaged \(.*{reason}.*\); remove .* and train") as error:
            load_classifier(tmp_path)
        assert "\n" not in str(error.value)
        (tmp_path / "weights.pt").unlink()


def test_psnr_is_symmetric_and_falls_with_noise(pair):
    x, y = pair
    assert torch.equal(psnr(x, y), psnr(y, x))
    noisier = (x + 3 * (y - x)).clamp(0, 1)
    assert (psnr(x, noisier) < psnr(x, y)).all()
    assert np.isfinite(psnr(x, noisier).numpy()).all()
