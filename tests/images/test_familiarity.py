"""Familiarity: real lesions that were kept back are familiar, photographs and noise are not."""

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_sample_image

from mammo.images.decode import read_film
from mammo.images.familiarity import describe, fit_familiarity
from mammo.images.network_input import apply_variant, to_unit
from mammo.images.preprocess import PreprocessSettings, prepare_lesion
from tests.shared_data import SHARED, needs

MASS = SHARED / "cbis_ddsm_mass_800"
LESION = PreprocessSettings(task="lesion", image_size=(224, 224), context=2.0, margin=1.3, intensity="percentile")


def test_distance_is_that_of_mahalanobis_over_its_limit() -> None:
    generator = np.random.default_rng(0)
    pictures = [cv2.GaussianBlur(generator.random((64, 64), np.float32), (0, 0), sigma) for sigma in range(1, 6)] * 30
    pictures = [np.clip(one + generator.normal(0, 0.1), 0, 1).astype(np.float32) for one in pictures]
    fitted = fit_familiarity(pictures)
    rows = np.array([describe(one) for one in pictures])
    offset = rows[7] - rows.mean(axis=0)
    covariance = np.cov(rows.T) + 1e-6 * np.eye(rows.shape[1])
    by_hand = np.sqrt(offset @ np.linalg.solve(covariance, offset)) / fitted.limit
    assert fitted.distance(pictures[7]) == pytest.approx(by_hand)
    assert np.mean([fitted.distance(one) > 1 for one in pictures]) == pytest.approx(0.005, abs=0.005)


@needs("cbis_ddsm_mass_800")
def test_lesions_kept_back_are_familiar_and_photographs_are_not() -> None:
    manifest = pd.read_csv(MASS / "manifest.csv").iloc[:400]
    crops = []
    for image, rows in manifest.groupby("image", sort=False):
        film = read_film(MASS / image)
        boxes = rows[["x", "y", "width", "height"]].itertuples(index=False)
        crops += [prepare_lesion(film, tuple(box), LESION, pixel_aspect=0.6).pixels for box in boxes]
    pictures = [apply_variant(to_unit(crop), (224, 224)) for crop in crops]
    fitted = fit_familiarity(pictures[:300])
    assert np.mean([fitted.distance(one) > 1 for one in pictures[300:]]) < 0.08
    photograph = cv2.cvtColor(load_sample_image("china.jpg"), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    windows = [photograph[top : top + 224, left : left + 224] for top in (0, 200) for left in (0, 200, 400)]
    assert np.mean([fitted.distance(one) > 1 for one in windows]) > 0.5
    assert fitted.distance(np.random.default_rng(0).random((224, 224), np.float32)) > 1
