"""Regression of one and two variables, mixtures and rings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hypnettorch.data.special import gaussian_mixture_data as gaussians
from hypnettorch.data.special.density_estimates import histogram_density, kernel_density
from hypnettorch.data.special.donuts import Donuts
from hypnettorch.data.special.gaussian_mixture_data import GaussianData, get_gmm_tasks
from hypnettorch.data.special.gmm_data import GMMData
from hypnettorch.data.special.regression1d_bimodal_data import BimodalToyRegression
from hypnettorch.data.special.regression1d_data import ToyRegression, proportional_counts
from hypnettorch.data.task_sequences import build_task_sequence

INTERVALS = {"train_inter": [[-4, -3], [0, 2]], "num_train": 6, "test_inter": [-2, 2], "num_test": 3}


def cube(x: np.ndarray) -> np.ndarray:
    return x**3


class TestRegression:
    def test_draws(self) -> None:
        data = ToyRegression(
            **INTERVALS,
            val_inter=[5, 7],
            num_val=2,
            map_function=cube,
            std=lambda x: abs(x),
            perturb_test_val=True,
            rseed=3,
        )
        rng = np.random.RandomState(3)
        x = np.concatenate([rng.uniform(-4, -3, (2, 1)), rng.uniform(0, 2, (4, 1))])
        assert data.get_train_inputs().tolist() == x.tolist()
        for split, inputs in (("train", x), ("test", np.array([[-2], [0], [2]])), ("val", np.array([[5], [7]]))):
            assert data.inputs(split).tolist() == inputs.tolist()
            noise = rng.normal(0, abs(inputs))
            np.testing.assert_allclose(data.outputs(split), inputs**3 + noise, rtol=1e-12)
        assert (data.train_x_range, data.test_x_range, data.val_x_range) == ((-4, 2), (-2, 2), (5, 7))
        assert data.get_val_ids().tolist() == [9, 10]
        assert (data.in_shape, data.out_shape, data.classification) == ([1], [1], False)
        assert data.get_identifier() == "1DRegression"

    def test_defaults(self) -> None:
        np.random.seed(1)
        data = ToyRegression()
        np.random.seed(1)
        assert data.get_train_inputs().tolist() == np.random.uniform(-10, 10, (20, 1)).tolist()
        assert (data.get_train_outputs() == data.get_train_inputs()).all()
        assert data.get_test_inputs().ravel().tolist() == np.linspace(-10, 10, 80).tolist()
        assert (data.get_val_ids(), data.val_x_range) == (None, None)

    def test_only_training_samples_have_noise(self) -> None:
        data = ToyRegression(std=1, rseed=1)
        assert (data.get_test_outputs() == data.get_test_inputs()).all()
        assert abs(data.get_train_outputs() - data.get_train_inputs()).min() > 0

    @pytest.mark.parametrize("val_inter", [None, (0, 1)])
    def test_no_validation_samples(self, val_inter: tuple[int, int] | None) -> None:
        """As published experiments pass it."""
        for handler in (ToyRegression, BimodalToyRegression):
            data = handler(val_inter=val_inter, num_val=0, rseed=1)
            assert (data.num_val_samples, data.val_x_range) == (0, val_inter)
            assert data.num_train_samples == 20
            assert (data.get_train_inputs() == handler(rseed=1).get_train_inputs()).all()

    def test_counts(self) -> None:
        assert proportional_counts([1, 1, 1], 10) == [4, 3, 3]
        assert proportional_counts([1, 3], 3) == [1, 2]
        assert sum(proportional_counts([0.3, 0.2, 7.1], 101)) == 101

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"val_inter": [0, 1]}, "val_inter, num_val"),
            ({"num_val": 3}, "val_inter, num_val"),
            ({"val_inter": [0, 1], "num_val": -1}, "num_val"),
            ({"train_inter": [[0, 1], [2, 2]]}, r"train_inter\[1\]: expected an interval"),
            ({"test_inter": [1, 0]}, "test_inter"),
            ({"test_inter": [1, 0, 2]}, "test_inter"),
            ({"std": -1}, "std"),
        ],
    )
    def test_wrong_arguments(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ToyRegression(**options)


class TestBimodalRegression:
    def test_draws(self) -> None:
        data = BimodalToyRegression(
            **INTERVALS, map_function=cube, alpha1=0.3, dist1=2, dist2=7, std1=0.1, std2=0.5, rseed=3
        )
        rng = np.random.RandomState(3)
        x = np.concatenate([rng.uniform(-4, -3, (2, 1)), rng.uniform(0, 2, (4, 1))])
        upper = rng.binomial(1, 0.3, (6, 1)) == 1
        noise = rng.normal(np.where(upper, 7, -2), np.where(upper, 0.5, 0.1))
        np.testing.assert_allclose(data.get_train_outputs(), x**3 + noise, rtol=1e-12)
        assert (data.get_test_outputs() == data.get_test_inputs() ** 3).all()

    @pytest.mark.parametrize(("alpha1", "mode"), [(0, -4), (1, 4)])
    def test_modes(self, alpha1: float, mode: float) -> None:
        data = BimodalToyRegression(alpha1=alpha1, dist1=4, std1=0.1, rseed=1, perturb_test_val=True)
        noise = data.samples.outputs - data.samples.inputs
        np.testing.assert_allclose(noise, mode, atol=0.5)

    def test_own_seed_leaves_the_global_generator_alone(self) -> None:
        before = np.random.get_state()[1].tolist()
        BimodalToyRegression(rseed=1)
        assert np.random.get_state()[1].tolist() == before


class TestGaussians:
    def test_constants(self) -> None:
        means = np.array(gaussians.DEFAULT_MEANS)
        assert means[:6].tolist() == [[-4, -4], [-4, -2], [-4, 0], [-4, 2], [-4, 4], [-2, -4]]
        assert (len(means), gaussians.DEFAULT_VARIANCES[24].tolist()) == (25, [[0.05**2, 0], [0, 0.05**2]])
        np.testing.assert_allclose(gaussians.METZ_MEANS[1], [np.sqrt(2)] * 2)
        np.testing.assert_allclose(gaussians.METZ_MEANS[2], [2, 0], atol=1e-12)
        assert (len(gaussians.METZ_MEANS), gaussians.METZ_VARIANCES[7][0, 0]) == (8, 0.02**2)
        np.testing.assert_allclose(gaussians.CHE_MEANS[1], [5, 0], atol=1e-12)
        np.testing.assert_allclose(gaussians.CHE_ANGLES, np.pi * np.array([1, 3, 5, 7, 9, 11]) / 6)
        assert gaussians.CHE_VARIANCES[5].tolist() == [[0.1**2, 0], [0, 0.1**2]]

    def test_draws(self) -> None:
        cov = [[0.5, 0.2], [0.2, 0.3]]
        data = GaussianData(mean=[1, 2], cov=cov, num_train=5, num_test=3, rseed=4)
        rng = np.random.RandomState(4)
        normal = multivariate_normal([1, 2], cov)
        for split, size in (("train", 5), ("test", 3)):
            x = rng.multivariate_normal([1, 2], cov, size)
            assert data.inputs(split).tolist() == x.tolist()
            np.testing.assert_allclose(data.outputs(split)[:, 0], normal.pdf(x))
        assert (data.in_shape, data.out_shape, data.classification) == ([2], [1], False)
        assert (data.mean.tolist(), data.cov.tolist()) == ([1, 2], cov)

    def test_tasks(self) -> None:
        tasks = get_gmm_tasks(num_train=4, num_test=2, map_functions=[lambda x: x[:, 1]] * 25, rseed=10)
        alone = GaussianData(gaussians.DEFAULT_MEANS[3], num_train=4, num_test=2, rseed=13)
        assert len(tasks) == 25
        assert (tasks[3].get_test_inputs() == alone.get_test_inputs()).all()
        assert (tasks[3].get_test_outputs()[:, 0] == alone.get_test_inputs()[:, 1]).all()
        with pytest.raises(ValueError, match="covs"):
            get_gmm_tasks(means=gaussians.CHE_MEANS)
        with pytest.raises(ValueError, match="cov: expected shape"):
            GaussianData(cov=[1, 1])


@pytest.fixture(scope="module")
def components() -> list[GaussianData]:
    return get_gmm_tasks(gaussians.CHE_MEANS, gaussians.CHE_VARIANCES, num_train=200, num_test=5, rseed=1)


class TestMixture:
    def test_union(self, components: list[GaussianData]) -> None:
        data = GMMData(components)
        assert (data.num_train_samples, data.num_test_samples, data.classification) == (1200, 30, False)
        assert (data.get_train_inputs()[200:400] == components[1].get_train_inputs()).all()
        assert (data.get_test_outputs()[5:10] == components[1].get_test_outputs()).all()
        assert data.means.tolist() == [mean.tolist() for mean in gaussians.CHE_MEANS]
        labels = GMMData(components, classification=True, use_one_hot=True)
        assert (labels.num_modes, labels.out_shape) == (6, [6])
        assert labels.get_test_outputs(use_one_hot=False)[:, 0].tolist() == [k for k in range(6) for _ in range(5)]
        with pytest.raises(ValueError, match="use_one_hot"):
            GMMData(components, use_one_hot=True)
        with pytest.raises(ValueError, match="mixing_coefficients"):
            GMMData(components, mixing_coefficients=[1, 1, 1, 1, 1, 1])

    def test_mode_coverage(self, components: list[GaussianData]) -> None:
        weights = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
        data = GMMData(components, mixing_coefficients=weights)
        fake = np.array([gaussians.CHE_MEANS[0], gaussians.CHE_MEANS[0] + 0.1, gaussians.CHE_MEANS[4]])
        number, joint = data.estimate_mode_coverage(fake)
        expected = [
            weight * multivariate_normal(mean, cov).pdf(fake)
            for weight, mean, cov in zip(weights, gaussians.CHE_MEANS, gaussians.CHE_VARIANCES, strict=True)
        ]
        assert number == 2
        np.testing.assert_allclose(joint, np.stack(expected, axis=1))
        assert data.estimate_mode_coverage(fake, joint[:2])[0] == 1
        far_away = 100 * np.array(gaussians.CHE_MEANS)
        assert data.estimate_mode_coverage(far_away)[0] == 6

    @pytest.mark.parametrize("kind", ["hist", "gaussian"])
    def test_distance(self, components: list[GaussianData], kind: str) -> None:
        data = GMMData(components)
        rng = np.random.RandomState(0)
        same = np.concatenate([rng.multivariate_normal(c.mean, c.cov, 200) for c in components])
        far = [data.estimate_distance(same + shift, density_estimation=kind) for shift in (0, 0.2, 1)]
        assert far == sorted(far)
        assert far[1] > far[0] + 1
        joint = data.responsibilities(same)
        assert data.estimate_distance(same, joint, density_estimation=kind) == far[0]
        with pytest.raises(ValueError, match="density_estimation"):
            data.estimate_distance(same, density_estimation="none")

    def test_distance_of_normal_distributions(self) -> None:
        """The symmetric divergence of N(0, 1) and N(m, 1) is m²."""
        data = GMMData([GaussianData(cov=np.eye(2), num_train=2000, rseed=1)])
        fake = np.random.RandomState(2).multivariate_normal([1, 0], np.eye(2), 2000)
        assert data.estimate_distance(fake, density_estimation="gaussian", eps=1e-12) == pytest.approx(1, abs=0.3)

    @pytest.mark.parametrize("estimate", [histogram_density, kernel_density])
    def test_density_estimates(self, estimate: Callable) -> None:
        samples = np.random.RandomState(0).uniform(-1, 1, (2000, 2))
        inside = np.random.RandomState(1).uniform(-0.8, 0.8, (5000, 2))
        assert estimate(samples, inside).mean() == pytest.approx(0.25, abs=0.02)
        assert estimate(samples, np.array([[3.0, 0.0], [0.0, -3.0]])) == pytest.approx(0, abs=1e-6)
        assert histogram_density(samples, samples).min() > 0

    def test_mesh(self, components: list[GaussianData]) -> None:
        data = GMMData(components)
        x1, x2, points = data.get_input_mesh(grid_size=5)
        assert (x1.shape, points.shape) == ((5, 5), (25, 2))
        assert points[7].tolist() == [x1[1, 2], x2[1, 2]]
        low, high = data.samples.inputs.min(axis=0), data.samples.inputs.max(axis=0)
        np.testing.assert_allclose([x1[0, 0], x2[0, 0]], low - 0.02 * (high - low))
        np.testing.assert_allclose([x1[4, 4], x2[4, 4]], high + 0.02 * (high - low))
        assert data.get_input_mesh([0, 1], [2, 3], 2)[2].tolist() == [[0, 2], [1, 2], [0, 3], [1, 3]]


class TestDonuts:
    def test_draws(self) -> None:
        centers, radii = [(1, 2), (0, 0), (5, 5)], [(3, 4), (0, 1), (2, 3)]
        data = Donuts(centers, radii, num_train=4, num_test=2, rseed=9)
        rng = np.random.RandomState(9)
        for label, (center, (inner, outer)) in enumerate(zip(centers, radii, strict=True)):
            for split, size in (("train", 4), ("test", 2)):
                r, angle = np.sqrt(rng.uniform(inner**2, outer**2, size)), rng.uniform(-np.pi, np.pi, size)
                points = np.stack([center[0] + r * np.cos(angle), center[1] + r * np.sin(angle)], axis=1)
                rows = slice(label * size, (label + 1) * size)
                np.testing.assert_allclose(data.inputs(split)[rows], points)
                assert (data.outputs(split, use_one_hot=False)[rows] == label).all()
        assert (data.out_shape, data.is_one_hot, data.num_classes) == ([3], True, 3)
        assert Donuts(use_one_hot=False).out_shape == [1]
        assert data.get_identifier() == "DonutsDataset"

    def test_uniform_by_area(self) -> None:
        points = Donuts.sample_annulus(0, 0, 1, 3, num=20_000, rand=np.random.RandomState(0))
        assert (np.linalg.norm(points, axis=1) < 2).mean() == pytest.approx(3 / 8, abs=0.01)

    def test_wrong_arguments(self) -> None:
        with pytest.raises(ValueError, match="radii"):
            Donuts(centers=[(0, 0)])
        with pytest.raises(ValueError, match="r_outer"):
            Donuts(radii=[(4, 3), (1, 2)])


def regression() -> ToyRegression:
    return ToyRegression(val_inter=[-5, 5], num_val=5, rseed=1)


def mixture(**options: bool) -> GMMData:
    return GMMData(get_gmm_tasks(num_train=5, rseed=1), **options)


def gaussian() -> GaussianData:
    return GaussianData(num_train=20, rseed=1)


MESH = mixture().get_input_mesh(grid_size=20)
PLOTS: list[Callable[..., None]] = [
    lambda **to: regression().plot_dataset(**to),
    lambda **to: regression().plot_predictions(np.zeros((80, 1)), **to),
    lambda **to: regression().plot_predictions(([1, 2], [3, 4]), label="p", show_train=False, show_test=False, **to),
    lambda **to: regression().plot_samples("t", np.ones((4, 1)), np.ones((4, 1)), np.zeros((4, 1)), **to),
    lambda **to: regression().plot_samples("t", np.ones((4, 1)), **to),
    lambda **to: ToyRegression.plot_datasets([regression()] * 2, publication_style=True, **to),
    lambda **to: ToyRegression.plot_datasets(
        [regression()], [np.ones((2, 1))], [np.ones((2, 1))], ["a"], [[0, 1]], **to
    ),
    lambda **to: BimodalToyRegression(rseed=1).plot_dataset(**to),
    lambda **to: gaussian().plot_dataset(**to),
    lambda **to: gaussian().plot_predictions(np.zeros((100, 1)), **to),
    lambda **to: gaussian().plot_samples("t", np.ones((4, 2)), np.arange(4.0)[:, None], np.zeros((4, 1)), **to),
    lambda **to: gaussian().plot_samples("t", np.ones((4, 2)), **to),
    lambda **to: GaussianData.plot_datasets([gaussian()] * 2, labels=["a", "b"], **to),
    lambda **to: mixture().plot_samples("t", np.ones((4, 2)), np.ones((4, 1)), **to),
    lambda **to: mixture(classification=True).plot_samples("t", np.ones((25, 2)), predictions=np.eye(25), **to),
    lambda **to: mixture().plot_real_fake("t", np.ones((4, 2)), np.zeros((4, 2)), **to),
    lambda **to: mixture().plot_uncertainty_map(input_mesh=MESH, sketch_components=True, **to),
    lambda **to: mixture().plot_uncertainty_map(input_mesh=MESH, use_generative_uncertainty=True, **to),
    lambda **to: mixture().plot_uncertainty_map(input_mesh=MESH, use_ent_joint_uncertainty=True, norm_eps=1.0, **to),
    lambda **to: mixture().plot_uncertainty_map(input_mesh=MESH, norm_eps=1e-5, **to),
    lambda **to: mixture().plot_optimal_classification(
        input_mesh=MESH, sample_inputs=np.ones((3, 2)), sample_modes=[0, 1, 2], sample_label="s", **to
    ),
    lambda **to: Donuts(num_train=20).plot_dataset("t", **to),
]


@pytest.mark.parametrize("plot", PLOTS)
def test_pictures(plot: Callable[..., None], tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    path = tmp_path / "plot.png"
    plot(show=False, filename=path)
    assert path.stat().st_size > 1000
    assert plt.get_fignums() == []


def test_certainty_of_the_mixture() -> None:
    """Half way between two components the uncertainty is log 2, at a component nothing."""
    data = GMMData([GaussianData((-1, 0), np.eye(2) * 0.1), GaussianData((1, 0), np.eye(2) * 0.1)])
    posterior = data._posterior(np.array([[0.0, 0.5], [1.0, 0.0], [500.0, 0.0]]), None)
    np.testing.assert_allclose(posterior, [[0.5, 0.5], [0, 1], [0, 1]], atol=1e-6)


def test_mixtures_are_two_clouds_per_task(tmp_path: Path) -> None:
    tasks = build_task_sequence("mixtures", tmp_path, seed=1)
    again = build_task_sequence("mixtures", tmp_path, seed=2)
    assert [(task.num_train_samples, task.num_test_samples, task.num_classes) for task in tasks] == [(20, 200, 2)] * 3
    for i, (task, same) in enumerate(zip(tasks, again, strict=True)):
        assert np.array_equal(task.get_train_inputs(), same.get_train_inputs())
        for label in range(2):
            points = task.get_test_inputs()[task.get_test_outputs(use_one_hot=False)[:, 0] == label]
            np.testing.assert_allclose(points.mean(0), gaussians.CHE_MEANS[2 * i + label], atol=0.1)
            np.testing.assert_allclose(points.std(0), 0.2, rtol=0.3)
    with pytest.raises(ValueError, match="num_classes_per_task, validation_size: expected 2 and 0"):
        build_task_sequence("mixtures", tmp_path, validation_size=5)
