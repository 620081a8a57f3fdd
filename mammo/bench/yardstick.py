"""Measures a baseline: logistic regression on the features of a run's frozen, pretrained backbone."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.data.loader import Loader
from mammo.evaluation.metrics import Metric, count_confusion, measure_at, measure_ranking
from mammo.inference.score import part_loader
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import gather_split, prepare_split
from mammo.progress import track
from mammo.runtime import paddle
from mammo.settings.schema import Settings
from mammo.training.assemble import make_network

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # inverse regularisation; chosen on validation


def measure_yardstick(settings: Settings) -> dict[str, Metric]:
    """Fit on training, choose the regularisation on validation, measure on test, at 0.5 where a threshold is needed.

    Features are the mean and the maximum over the backbone's feature map, standardised.
    """
    prepared = prepare_split(settings, gather_split(settings))
    _, backbone = make_network(settings)
    start_from_pretrained(backbone, settings.model)
    backbone.network.eval()
    all_labels = prepared.split.samples.cases["label"].to_numpy(int)
    parts = {}
    for part in ("train", "validation", "test"):
        rows = prepared.split.rows(part)
        parts[part] = (_features(backbone.network, part_loader(settings, prepared, rows), part), all_labels[rows])
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)) for strength in STRENGTHS]
    fitted = [model.fit(*parts["train"]) for model in models]
    best = max(fitted, key=lambda model: _auc(model, *parts["validation"]))
    features, labels = parts["test"]
    scores = best.predict_proba(features)[:, 1]
    return measure_ranking(labels, scores) | measure_at(count_confusion(labels, scores, 0.5))


def _auc(model: Pipeline, features: np.ndarray, labels: np.ndarray) -> float:
    return measure_ranking(labels, model.predict_proba(features)[:, 1])["auc"].value or 0.0


def _features(network: paddle.nn.Layer, loader: Loader, part: str) -> np.ndarray:
    """Compute the features of a part's cases, float32 [cases, 2 × channels]."""
    pooled = []
    with paddle.no_grad():
        for image, *_ in track(loader, len(loader), f"features of {part}"):
            feature_map = network(image[:, 0])
            pooled.append(paddle.concat([feature_map.mean(axis=[2, 3]), feature_map.max(axis=[2, 3])], axis=1).numpy())
    return np.concatenate(pooled)
