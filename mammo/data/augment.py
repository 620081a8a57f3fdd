"""Augments images with one albumentations pipeline, which draws the same numbers for the same (seed, epoch, sample)."""

from collections.abc import Callable

import albumentations as alb
import cv2
import numpy as np

from mammo.runtime import derived_seed
from mammo.settings.schema import AugmentationStep


class Augmentation:
    """Random changes to a film or crop, in the order of the steps.

    `border` is OpenCV's border mode for what was outside the image (reflected for crops, black for films).
    """

    def __init__(self, steps: tuple[AugmentationStep, ...], *, border: int) -> None:
        self._pipeline = alb.Compose([STEPS[step.name](step, border) for step in steps])

    def __call__(self, image: np.ndarray, *key: int) -> np.ndarray:
        """Change an image float32 [height, width] in 0-1; the key (seed, epoch, sample, …) decides how."""
        # Unless seeded by sample, albumentations 2.0.8 draws the same in every worker and epoch (measured).
        self._pipeline.set_random_seed(derived_seed(*key))
        changed = self._pipeline(image=image[:, :, None])["image"][:, :, 0]
        return np.clip(changed, 0.0, 1.0, dtype=np.float32)


def _affine(step: AugmentationStep, border: int) -> alb.BasicTransform:
    return alb.Affine(
        scale=step.zoom,
        rotate=(-step.rotate_deg, step.rotate_deg),
        shear={"x": (-step.shear_deg, step.shear_deg), "y": (-step.shear_deg, step.shear_deg)},
        translate_percent=(-step.shift, step.shift),
        interpolation=cv2.INTER_LINEAR,
        border_mode=border,
        p=step.p,
    )


def _holes(step: AugmentationStep, border: int) -> alb.BasicTransform:
    return alb.CoarseDropout(
        num_holes_range=step.holes, hole_height_range=step.hole_size, hole_width_range=step.hole_size, fill=0, p=step.p
    )


STEPS: dict[str, Callable[[AugmentationStep, int], alb.BasicTransform]] = {
    "flip_horizontal": lambda step, border: alb.HorizontalFlip(p=step.p),
    "flip_vertical": lambda step, border: alb.VerticalFlip(p=step.p),
    "affine": _affine,
    "intensity": lambda step, border: alb.RandomBrightnessContrast(step.brightness, step.contrast, p=step.p),
    "gamma": lambda step, border: alb.RandomGamma((100 * step.gamma[0], 100 * step.gamma[1]), p=step.p),
    "noise": lambda step, border: alb.GaussNoise(std_range=step.noise_std, p=step.p),
    "blur": lambda step, border: alb.GaussianBlur(blur_limit=(3, 5), p=step.p),
    "elastic": lambda step, border: alb.ElasticTransform(step.alpha, step.sigma, border_mode=border, p=step.p),
    "coarse_dropout": _holes,
}
