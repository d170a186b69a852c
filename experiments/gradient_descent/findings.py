"""What the gradient-descent sweeps say: each method at its own best settings, judged on starts it was not tuned on."""

from dataclasses import dataclass

import numpy as np

from experiments.evidence.reading import descent_run
from experiments.evidence.statistics import Estimate, median_over_starts
from experiments.scale import Settings

METHODS = ("plain", "original", "loss_weighted", "normalized", "normalized_loss_weighted")
NOT_CONVERGED, DIVERGED = -1, -2
"""Codes in the sweeps' steps: max_steps passed without convergence; left the divergence radius."""

LABELS = {
    "plain": "plain descent",
    "original": "original (eq. 3)",
    "loss_weighted": "loss-weighted (eq. 4)",
    "normalized": "normalized",
    "normalized_loss_weighted": "normalized, loss-weighted",
}
FUNCTIONS = ("rosenbrock", "beale")


@dataclass(frozen=True)
class Tuned:
    """One method at its best step size, and best beta unless that was given.

    Attributes:
        beta: NaN for plain descent.
        step_size: the step, or its upper bound.
        steps: (starts,) float, steps of every start; those that never arrive count as max_steps + 1.
        converged: (starts,) bool.
        judged: (starts,) bool, the starts that played no part in the choice.
    """

    beta: float
    step_size: float
    steps: np.ndarray
    converged: np.ndarray
    judged: np.ndarray


class Sweep:
    """One function and step rule: all methods, betas, step sizes and starts."""

    def __init__(self, settings: Settings, function: str, step_rule: str) -> None:
        self.samples = descent_run(settings, function, step_rule).samples
        self.limit = settings.gradient_descent.max_steps + 1
        self.step_sizes = self.samples["step_sizes"]
        self.starts = self.samples["starts"]
        self.betas = settings.gradient_descent.betas
        self.judged = ~self.samples["chooses"]

    def steps(self, method: str) -> np.ndarray:
        """(betas, step sizes of the grid, starts) float, `limit` where the minimum was not reached."""
        return self._counted(self.samples[f"steps_{method}"])

    def _counted(self, steps: np.ndarray) -> np.ndarray:
        return np.where(steps >= 0, steps, self.limit).astype(float)

    def tune(self, method: str, beta: float | None = None) -> Tuned:
        """Choose step size, of the grid or refined, and beta (not 0) unless given, by the mean steps over the choosing starts."""
        steps = np.concatenate((self.steps(method), self._counted(self.samples[f"fine_steps_{method}"])), axis=1)
        grid = np.broadcast_to(self.step_sizes, (len(steps), len(self.step_sizes)))
        step_sizes = np.concatenate((grid, self.samples[f"fine_step_sizes_{method}"]), axis=1)
        # With beta = 0 the original rule is plain descent: it is judged only when asked for.
        candidates = [index for index, value in enumerate(self.betas) if value != 0] if method != "plain" else [0]
        if beta is not None and method != "plain":
            candidates = [self.betas.index(beta)]
        score = steps[:, :, ~self.judged].mean(-1)
        best_beta, best_step = min(
            ((b, e) for b in candidates for e in range(step_sizes.shape[1])), key=lambda index: score[index]
        )
        chosen = steps[best_beta, best_step]
        return Tuned(
            beta=float("nan") if method == "plain" else float(self.betas[best_beta]),
            step_size=float(step_sizes[best_beta, best_step]),
            steps=chosen,
            converged=chosen < self.limit,
            judged=self.judged,
        )


def steps_ratio(method: Tuned, baseline: Tuned) -> Estimate:
    """Median over the judged starts of steps(method) / steps(baseline), with its interval; below 1 is faster."""
    return median_over_starts((np.maximum(method.steps, 1) / np.maximum(baseline.steps, 1))[method.judged])
