"""Labels are found where they lie apart, and by chance where they do not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.compare.metrics.semantics import (
    knn_right,
    linear_right,
    neighbours,
    scatter,
    separability,
    standardized,
    usable_classes,
)

CLASSES = torch.arange(90) % 3


def _apart(by: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = by * torch.randn(3, 12, generator=generator)
    return centres[CLASSES] + torch.randn(90, 12, generator=generator)


def test_classes_that_lie_apart_are_found_and_others_by_chance() -> None:
    assert knn_right(_apart(6.0), CLASSES).mean() > 0.95
    assert linear_right(_apart(6.0), CLASSES).mean() > 0.95
    assert 0.1 < knn_right(_apart(0.0), CLASSES).mean() < 0.6
    assert 0.1 < linear_right(_apart(0.0), CLASSES).mean() < 0.6


def test_a_constant_feature_and_the_units_of_others_change_nothing() -> None:
    features = _apart(1.0)
    changed = torch.cat([1000 * features, torch.ones(90, 2)], dim=1)
    assert knn_right(changed, CLASSES) == pytest.approx(knn_right(features, CLASSES))


def test_separability_grows_with_distance() -> None:
    found = [
        separability(scatter(_apart(by), CLASSES).mean(axis=0)[None])[0] for by in (0.0, 1.0, 5.0)
    ]
    assert found == sorted(found)


def test_scatter_within_and_between_is_all_scatter() -> None:
    features = _apart(2.0)
    within, between = scatter(features, CLASSES).mean(axis=0)
    total = standardized(features).square().sum(dim=1).mean()
    assert within + between == pytest.approx(float(total), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30))
def test_only_labels_that_two_samples_have_are_used(labels: list[str | None]) -> None:
    places, classes, count = usable_classes(labels)
    assert len(places) == len(classes)
    assert count == len(set(classes))
    assert all(classes.count(each) > 1 for each in classes)
    assert all(labels[place] is not None for place in places)


def test_nobody_is_their_own_neighbour() -> None:
    _, places = neighbours(_apart(1.0), 5)
    assert not np.any(places.numpy() == np.arange(90)[:, None])
