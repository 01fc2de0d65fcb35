"""Mixtures of normal distributions in the plane: data for classifiers, conditional and generative models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import stack
from hypnettorch.data.special.density_estimates import symmetric_kl
from hypnettorch.data.special.gaussian_mixture_data import GaussianData
from hypnettorch.data.special.plane_plots import (
    Mesh,
    draw_classes,
    draw_ellipses,
    draw_map,
    draw_regions,
    draw_values,
    mesh_of,
    plane_figure,
)

SLACK = 0.02
DISTANCE_SEED = 42


class GMMData(Dataset):
    """The samples of several :class:`~hypnettorch.data.special.gaussian_mixture_data.GaussianData` together.

    Args:
        gaussian_datasets: The components. Their training samples follow one another, then their test samples.
        classification: Whether the component is to be predicted, instead of the components' own outputs.
        use_one_hot: Whether to give one-hot vectors.
        mixing_coefficients: Weight ``π_k`` of each component in the density; by default all are the same.
        seed: Of the order of batches.

    Raises:
        ValueError: If ``use_one_hot`` is set without ``classification``, or the coefficients are no probabilities.

    Example:
        >>> from hypnettorch.data.special.gaussian_mixture_data import get_gmm_tasks
        >>> data = GMMData(get_gmm_tasks(num_train=4, rseed=1), classification=True, use_one_hot=True)
        >>> data.num_modes, data.num_train_samples, data.out_shape
        (25, 100, [25])
        >>> data.estimate_mode_coverage(data.get_test_inputs())[0]
        25
    """

    def __init__(
        self,
        gaussian_datasets: Sequence[GaussianData],
        classification: bool = False,
        use_one_hot: bool = False,
        mixing_coefficients: Sequence[float] | None = None,
        *,
        seed: Seed = 42,
    ) -> None:
        for k, component in enumerate(gaussian_datasets):
            checks.instance(("gaussian_datasets", k), component, GaussianData)
        if not gaussian_datasets:
            checks.fail("gaussian_datasets", "at least one component", "none")
        if use_one_hot and not classification:
            checks.fail("use_one_hot", "False without classification", True)
        self._components = list(gaussian_datasets)
        self._mixing = self._probabilities(mixing_coefficients)
        train = self._pairs("train", classification)
        test = self._pairs("test", classification)
        samples = stack(train, test, in_shape=(2,), num_classes=self.num_modes if classification else None)
        super().__init__(samples, use_one_hot, identifier="GMMData", seed=seed)

    def _probabilities(self, mixing_coefficients: Sequence[float] | None) -> NDArray:
        if mixing_coefficients is None:
            return np.full(self.num_modes, 1 / self.num_modes)
        checks.length("mixing_coefficients", mixing_coefficients, self.num_modes)
        weights = np.asarray(mixing_coefficients, dtype=float)
        if (weights < 0).any() or not np.isclose(weights.sum(), 1):
            checks.fail("mixing_coefficients", "probabilities, with sum 1", weights.tolist())
        return weights

    def _pairs(self, split: Literal["train", "test"], classification: bool) -> tuple[NDArray, NDArray]:
        inputs = [component.inputs(split) for component in self._components]
        labels = np.repeat(np.arange(self.num_modes), [len(x) for x in inputs])[:, None]
        values = np.concatenate([component.outputs(split) for component in self._components])
        return np.concatenate(inputs), labels if classification else values

    @property
    def num_modes(self) -> int:
        """Number ``K`` of components."""
        return len(self._components)

    @cached_property
    def means(self) -> NDArray:
        """Means of the components, ``[K, 2]``."""
        return np.stack([component.mean for component in self._components])

    def responsibilities(self, x: ArrayLike) -> NDArray:
        """Joint densities ``π_k N(x; μ_k, Σ_k)`` of points ``[N, 2]`` and components, ``[N, K]``."""
        return np.exp(self._log_joint(x))

    def _modes(self, x: ArrayLike) -> NDArray[np.int64]:
        """The most probable components, also where all densities are zero in floating point, ``[N]``."""
        return self._log_joint(x).argmax(axis=1)

    def _log_joint(self, x: ArrayLike) -> NDArray:
        log_densities = np.stack([component.log_density(x) for component in self._components], axis=1)
        with np.errstate(divide="ignore"):  # a component may have no weight
            return np.log(self._mixing) + log_densities

    def estimate_mode_coverage(self, fake: ArrayLike, responsibilities: NDArray | None = None) -> tuple[int, NDArray]:
        """How many components are the most probable one for some sample.

        Args:
            fake: Samples ``[N, 2]``.
            responsibilities: What :meth:`responsibilities` returns for them, if it is known.

        Returns:
            The number of components, and the responsibilities ``[N, K]``.
        """
        modes = self._modes(fake) if responsibilities is None else responsibilities.argmax(axis=1)
        joint = self.responsibilities(fake) if responsibilities is None else responsibilities
        return len(np.unique(modes)), joint

    def estimate_distance(
        self,
        fake: ArrayLike,
        component_densities: NDArray | None = None,
        density_estimation: Literal["hist", "gaussian"] = "hist",
        eps: float = 1e-5,
    ) -> float:
        """Estimate the symmetric Kullback-Leibler divergence between the mixture and samples of a model.

        ``mean_real(log p_data − log p_model) + mean_fake(log p_model − log p_data)`` with as many training samples as
        samples of the model, if there are so many.

        Args:
            fake: Samples of the model ``[N, 2]``.
            component_densities: What :meth:`responsibilities` returns for them, if it is known.
            density_estimation: How the density of the model is estimated: by a histogram, or by Gaussian kernels.
            eps: Added to all densities.

        Raises:
            ValueError: If ``density_estimation`` is unknown, or ``eps`` is not positive.
        """
        samples = np.asarray(fake, dtype=float)
        train = self.inputs("train")
        chosen = np.random.RandomState(DISTANCE_SEED).choice(len(train), min(len(samples), len(train)), replace=False)
        real = train[chosen]
        joint = self.responsibilities(samples) if component_densities is None else component_densities
        return symmetric_kl(real, samples, self.responsibilities(real).sum(1), joint.sum(1), density_estimation, eps)

    def get_input_mesh(
        self,
        x1_range: Sequence[float] | None = None,
        x2_range: Sequence[float] | None = None,
        grid_size: int = 1000,
    ) -> Mesh:
        """A grid over the plane.

        Args:
            x1_range: Interval of the first coordinate; by default that of all samples and 2 % more on each side.
            x2_range: Likewise.
            grid_size: Number of points per coordinate.

        Returns:
            Coordinates ``X1`` and ``X2``, each ``[grid_size, grid_size]``, and the points ``[grid_size**2, 2]``.
        """
        size = checks.integer("grid_size", grid_size, 1)
        low, high = self.samples.inputs.min(axis=0), self.samples.inputs.max(axis=0)
        slack = SLACK * (high - low)
        defaults = np.stack([low - slack, high + slack], axis=1)
        return mesh_of(
            defaults[0] if x1_range is None else x1_range, defaults[1] if x2_range is None else x2_range, size
        )

    # Pictures

    def plot_samples(  # type: ignore[override]  # documented without num_samples_per_row
        self,
        title: str,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        show: bool = True,
        filename: str | Path | None = None,
        interactive: bool = False,
        figsize: tuple[float, float] = (10, 6),
    ) -> None:
        """Draw samples, all of them into one plane; colours tell predictions or else outputs.

        Args:
            title: Title of the figure.
            inputs: ``[N, 2]``.
            outputs: Their outputs.
            predictions: Predicted outputs, labels or one value per class.
            show: Whether to open a window.
            filename: Where to save the picture.
            interactive: Whether the program goes on while the window is open.
            figsize: Width and height in inches.
        """
        told = outputs if predictions is None else predictions
        with plane_figure(title, show, filename, figsize, interactive) as (fig, axes):
            if told is None:
                axes.scatter(*np.asarray(inputs).T, s=12)
            elif self.classification:
                labels = np.asarray(told)
                draw_classes(axes, inputs, labels if labels.shape[1] == 1 else labels.argmax(axis=1))
            else:
                draw_values(fig, axes, inputs, told)

    def plot_real_fake(
        self,
        title: str,
        real: ArrayLike,
        fake: ArrayLike,
        show: bool = True,
        filename: str | Path | None = None,
        interactive: bool = False,
        figsize: tuple[float, float] = (10, 6),
    ) -> None:
        """Draw samples of the data and of a model, each ``[N, 2]``."""
        with plane_figure(title, show, filename, figsize, interactive) as (_, axes):
            axes.scatter(*np.asarray(real).T, s=12, label="real")
            axes.scatter(*np.asarray(fake).T, s=12, label="fake")

    def plot_uncertainty_map(
        self,
        title: str = "Uncertainty Map",
        input_mesh: Mesh | None = None,
        uncertainties: ArrayLike | None = None,
        use_generative_uncertainty: bool = False,
        use_ent_joint_uncertainty: bool = False,
        sample_inputs: ArrayLike | None = None,
        sample_modes: ArrayLike | None = None,
        sample_label: str | None = None,
        sketch_components: bool = False,
        norm_eps: float | None = None,
        show: bool = True,
        filename: str | Path | None = None,
        figsize: tuple[float, float] = (10, 6),
    ) -> None:
        """Draw how uncertain predictions are over the plane.

        Args:
            title: Title of the figure.
            input_mesh: What :meth:`get_input_mesh` returns.
            uncertainties: The values at the points of the mesh; by default the entropy of the responsibilities divided
                by ``log K``.
            use_generative_uncertainty: Draw the density of the mixture instead.
            use_ent_joint_uncertainty: Draw the entropy of the joint density instead.
            sample_inputs: Samples to draw, ``[N, 2]``.
            sample_modes: Their components, ``[N]``.
            sample_label: Their name.
            sketch_components: Whether to draw an ellipse for each component.
            norm_eps: Added to the density by which responsibilities are divided, so that there is no uncertainty where
                no data are.
            show: Whether to open a window.
            filename: Where to save the picture.
            figsize: Width and height in inches.

        Raises:
            ValueError: If two kinds of uncertainty are asked for.
        """
        if use_generative_uncertainty and use_ent_joint_uncertainty:
            checks.fail("use_ent_joint_uncertainty", "False, since use_generative_uncertainty is set", True)
        mesh = self.get_input_mesh() if input_mesh is None else input_mesh
        if uncertainties is None:
            joint = self.responsibilities(mesh[2])
            if use_generative_uncertainty:
                uncertainties = joint.sum(axis=1)
            elif use_ent_joint_uncertainty:
                uncertainties = _entropy(joint)
            else:
                uncertainties = _entropy(self._posterior(mesh[2], norm_eps)) / max(np.log(self.num_modes), 1e-12)
        with plane_figure(title, show, filename, figsize) as (fig, axes):
            draw_map(fig, axes, mesh, uncertainties)
            self._draw_over_map(axes, sample_inputs, sample_modes, sample_label, sketch_components)

    def plot_optimal_classification(
        self,
        title: str = "Classification Map",
        input_mesh: Mesh | None = None,
        mesh_modes: ArrayLike | None = None,
        sample_inputs: ArrayLike | None = None,
        sample_modes: ArrayLike | None = None,
        sample_label: str | None = None,
        sketch_components: bool = False,
        show: bool = True,
        filename: str | Path | None = None,
        figsize: tuple[float, float] = (10, 6),
    ) -> None:
        """Draw the most probable component over the plane.

        Args:
            title: Title of the figure.
            input_mesh: What :meth:`get_input_mesh` returns.
            mesh_modes: The components at the points of the mesh, if they are known.
            sample_inputs: Samples to draw, ``[N, 2]``.
            sample_modes: Their components, ``[N]``.
            sample_label: Their name.
            sketch_components: Whether to draw an ellipse for each component.
            show: Whether to open a window.
            filename: Where to save the picture.
            figsize: Width and height in inches.
        """
        mesh = self.get_input_mesh() if input_mesh is None else input_mesh
        modes = self._modes(mesh[2]) if mesh_modes is None else mesh_modes
        with plane_figure(title, show, filename, figsize) as (_, axes):
            draw_regions(axes, mesh, modes)
            self._draw_over_map(axes, sample_inputs, sample_modes, sample_label, sketch_components)

    def _posterior(self, x: ArrayLike, norm_eps: float | None) -> NDArray:
        """Probabilities of the components given points ``[N, 2]``, ``[N, K]``."""
        if norm_eps is None:
            return softmax(self._log_joint(x), axis=1)
        joint = self.responsibilities(x)
        return joint / (joint.sum(axis=1, keepdims=True) + norm_eps)

    def _draw_over_map(
        self,
        axes: Any,
        sample_inputs: ArrayLike | None,
        sample_modes: ArrayLike | None,
        sample_label: str | None,
        sketch_components: bool,
    ) -> None:
        if sketch_components:
            draw_ellipses(axes, list(self.means), [component.cov for component in self._components])
        if sample_inputs is not None:
            modes = np.zeros(len(np.asarray(sample_inputs))) if sample_modes is None else sample_modes
            draw_classes(axes, sample_inputs, modes, label=sample_label, edgecolors="white", linewidths=0.5)


def _entropy(probabilities: NDArray) -> NDArray:
    """``-Σ_k p_k log p_k`` of ``[N, K]``."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    return -(probabilities * logs).sum(axis=1)
