"""Settings of the audit of the paper's NIQE values."""

from typing import Annotated

from pydantic import Field

from experiments.runs.room import Distinct, Section


class NiqeCollapseSettings(Section):
    """Audit of the paper's NIQE values."""

    leaves = ("samples.npz",)

    seed: int = Field(ge=0, description="seed of the noise images")
    image_size: int = Field(ge=96, lt=192, description="side of the images in pixels: one block of 96 px, as inferred")
    images: int = Field(gt=0, le=390, description="faces, and noise images")
    crops: int = Field(ge=42, description="crops of natural images; more than the 36 features of NIQE")
    blurs: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2), Distinct] = Field(
        description="sigma of the blur of the crops, pixels"
    )

    def data(self) -> list[str]:
        """The faces."""
        return ["orl-faces"]
