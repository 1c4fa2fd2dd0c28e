import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from src.ranking import areas, class_areas, mean_known


def drawn(seed: int, *, num_images: int = 80, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.random(num_images)
    is_class = rng.random(num_images) < 0.2 + 0.5 * scores
    return is_class, (np.round(scores, 1) if ties else scores).astype(np.float32)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_areas_equal_those_of_scikit_learn(seed, ties):
    is_class, scores = drawn(seed, ties=ties)
    found = areas(is_class, scores, np.ones((1, len(scores))))
    assert found.roc[0] == pytest.approx(roc_auc_score(is_class, scores))
    assert found.pr[0] == pytest.approx(average_precision_score(is_class, scores))


@pytest.mark.parametrize("ties", [False, True])
def test_a_row_of_weights_is_a_resample_that_has_each_image_so_often(ties):
    is_class, scores = drawn(5, ties=ties)
    weights = np.random.default_rng(0).integers(0, 4, size=(6, len(scores)))
    found = areas(is_class, scores, weights)
    for row, weight in enumerate(weights):
        labels, repeated = np.repeat(is_class, weight), np.repeat(scores, weight)
        assert found.roc[row] == pytest.approx(roc_auc_score(labels, repeated))
        assert found.pr[row] == pytest.approx(average_precision_score(labels, repeated))


@pytest.mark.parametrize("only", [True, False])
def test_an_area_is_undefined_where_all_or_none_are_of_the_class(only):
    found = areas(np.full(4, only), np.arange(4.0), np.ones((1, 4)))
    assert np.isnan(found.roc).all()
    assert np.isnan(found.pr).all()


def test_mean_over_the_classes_equals_scikit_learn_and_passes_over_absent_ones():
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 1, 3], size=90)
    probs = rng.dirichlet(np.ones(4), size=90)
    found = class_areas(labels, probs)
    assert np.isnan(found.roc[0, 2])
    ours = mean_known(found.roc)[0]
    assert ours == pytest.approx(np.mean([roc_auc_score(labels == index, probs[:, index]) for index in (0, 1, 3)]))
    assert np.isnan(mean_known(np.full((2, 3), np.nan))).all()
