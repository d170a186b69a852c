"""Why every NIQE in the paper is about 18.87: the score of an image with a single block is a constant of the tool.

Faces, natural crops at rising blur, noise and a checkerboard, all of one size under 192 px, get the score that code
taking means and covariances of one feature row gives them, beside its closed form (`collapsed_score`). The natural
crops also get the pooled NIQE, which does order them. The paper states neither its tool nor its image size; both are
inferred from its values.
"""

import numpy as np
import torch
from scipy import ndimage
from skimage import color, data
from torch import Tensor

from experiments.data import orl_faces
from experiments.data.faces import load_faces
from experiments.metrics.niqe import (
    block_features,
    collapse_constants,
    collapsed_score,
    live_model,
    niqe_pooled,
)
from experiments.niqe_collapse.settings import NiqeCollapseSettings
from experiments.runs.command_line import Request
from experiments.runs.folder import Run


def run(request: Request) -> None:
    """Score all sets of images and write the run folder."""
    settings = request.settings
    folder = Run.of(request)
    if folder.finished:
        return
    folder.data = orl_faces.checksums(request.scale.data_dir)
    generator = torch.Generator().manual_seed(request.seed)
    crops = natural_crops(settings)
    sets = {"faces": _faces(request.scale.data_dir, settings)}
    folder.start()
    sets |= {f"natural crops, blur {sigma:g}": _blurred(crops, sigma) for sigma in settings.blurs}
    sets["noise"] = torch.rand(settings.images, 1, settings.image_size, settings.image_size, generator=generator)
    squares = torch.arange(settings.image_size) // 8
    sets["checkerboard"] = ((squares[:, None] + squares) % 2).double()[None, None]
    model = live_model()
    pooled = {}
    for name, images in sets.items():
        features = block_features(images, model.block_size)[:, 0]
        numeric, closed = collapsed_score(features, model)
        columns = zip(features.mean(-1), features.var(-1, ddof=1), numeric, closed, strict=True)
        for index, values in enumerate(columns):
            row = dict(zip(("mean", "variance", "score", "closed_form"), map(float, values), strict=True))
            folder.history.append({"set": name, "image": index, **row})
        if name.startswith("natural"):
            pooled[name] = niqe_pooled(images)
    c, m0, s = collapse_constants(model)
    worst = max(abs(row["score"] - row["closed_form"]) for row in folder.history)
    scores = [row["score"] for row in folder.history]
    folder.finish(
        {"c": c, "m0": m0, "s": s, "pooled": pooled, "largest_error_of_closed_form": worst}
        | {"lowest_score": min(scores), "highest_score": max(scores)},
        samples={"faces": sets["faces"][:8].numpy()},
    )


def natural_crops(settings: NiqeCollapseSettings) -> Tensor:
    """Square crops (crops, 1, S, S) in [0, 1] of photographs that scikit-image ships, in rows and columns of each."""
    photographs = [
        data.astronaut(),
        data.camera(),
        data.chelsea(),
        data.coffee(),
        data.rocket(),
        data.stereo_motorcycle()[0],
    ]
    per_photograph = -(-settings.crops // len(photographs))
    crops = []
    for photograph in photographs:
        grey = photograph / 255 if photograph.ndim == 2 else color.rgb2gray(photograph)
        columns = -(-per_photograph // 2)
        tops = np.linspace(0, grey.shape[0] - settings.image_size, 2).astype(int)
        lefts = np.linspace(0, grey.shape[1] - settings.image_size, columns).astype(int)
        corners = [(top, left) for top in tops for left in lefts][:per_photograph]
        crops += [grey[top : top + settings.image_size, left : left + settings.image_size] for top, left in corners]
    return torch.from_numpy(np.stack(crops[: settings.crops])[:, None]).clamp(0, 1)


def _faces(data_dir: str, settings: NiqeCollapseSettings) -> Tensor:
    """ORL faces resized to the audit's size: (images, 1, S, S) in [0, 1]."""
    faces = load_faces("orl-faces", data_dir, settings.image_size, 0, 1).train
    step = max(1, len(faces) // settings.images)
    return torch.from_numpy(faces[::step][: settings.images].copy()).double() / 255


def _blurred(images: Tensor, sigma: float) -> Tensor:

    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest")).clamp(0, 1)
