"""Writes a tiny data set of real PNG files: bright discs (benign) and bright crosses (malignant) on a gray breast."""

from pathlib import Path

import cv2
import numpy as np
import yaml

from mammo.settings.load import check_settings
from mammo.settings.schema import Settings

SETTINGS = {
    "data": {"kind": "manifest", "image_size": [32, 32], "prepare_workers": 1},
    "model": {"backbone": "ResNet18_vd", "pretrained": "none", "dropout": 0.1},
    "training": {"epochs": 2, "batch_size": 8, "ema_decay": 0.5, "optimizer": {"learning_rate": 1e-3}},
}


def write_films(folder: Path, *, patients: int = 24, one_class: bool = False) -> Path:
    """Write films of the left breast, two views a patient, and their manifest; every second patient is malignant."""
    generator = np.random.default_rng(5)
    lines = ["image,patient_id,laterality,view,lesion_id,lesion_type,label,x,y,width,height"]
    for number in range(patients):
        label = 0 if one_class else number % 2
        for view in ("CC", "MLO"):
            name = f"{number:02d}_{view}.png"
            x, y = (int(value) for value in generator.integers(25, 45, 2))
            cv2.imwrite(str(folder / name), film(generator, x, y, label))
            lines.append(f"{name},P{number:02d},LEFT,{view},L{number:02d}{view},mass,{label},{x - 8},{y - 8},16,16")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def add_findings(folder: Path) -> None:
    """Add what a radiologist might say to the manifest: a patient's views are one finding, crosses have spicules."""
    path = folder / "manifest.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    lines = [head + ",finding_id,shape,margins,subtlety"]
    for row in rows:
        patient, label = row.split(",")[1], row.split(",")[6]
        said = "IRREGULAR,SPICULATED,5" if label == "1" else "ROUND,CIRCUMSCRIBED,"
        lines.append(f"{row},F{patient},{said}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def film(generator: np.random.Generator, x: int, y: int, label: int) -> np.ndarray:
    """One film, uint16 [96, 80]."""
    canvas = np.zeros((96, 80), np.float32)
    cv2.ellipse(canvas, (0, 48), (66, 44), 0, -90, 90, 22000.0, -1)
    canvas[canvas > 0] += generator.normal(0, 900, int((canvas > 0).sum()))
    if label:
        cv2.line(canvas, (x - 7, y), (x + 7, y), 52000.0, 2)
        cv2.line(canvas, (x, y - 7), (x, y + 7), 52000.0, 2)
    else:
        cv2.circle(canvas, (x, y), 5, 52000.0, -1)
    return np.clip(canvas, 0, 65535).astype(np.uint16)


def tiny_settings(folder: Path, **changes: object) -> Settings:
    """Settings for the tiny set in a folder; changes are `section__key=value` (further `__` go deeper)."""
    values = yaml.safe_load(yaml.safe_dump(SETTINGS))
    values["output"] = str(folder / "output")
    values["data"]["manifest"] = str(folder / "manifest.csv")
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return check_settings(values, "tiny")
