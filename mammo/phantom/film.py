"""Draws the phantom's film without a lesion, as arrays: breast outline, tissue, pectoral muscle, letters and border."""

from dataclasses import dataclass

import cv2
import numpy as np

DESIGN_SIZE = (512, 384)
WHITE = 4095
BORDER_SHARE = 0.33


@dataclass(frozen=True)
class Breast:
    """One view with the chest wall at column 0, as float32 arrays [H, W].

    `tissue` is in about 0-1, `pectoral` in 0-1; `radius` is 0 at the middle of the chest wall and 1 on the skin.
    """

    tissue: np.ndarray
    radius: np.ndarray
    pectoral: np.ndarray


def unit_px(size: tuple[int, int]) -> float:
    """Return the pixels of a film of this size per pixel of the design size, 512 x 384."""
    return min(size[0] / DESIGN_SIZE[0], size[1] / DESIGN_SIZE[1])


def draw_breast(rng: np.random.Generator, size: tuple[int, int], *, view: str, density: int) -> Breast:
    """Draw the breast of one view.

    Args:
        rng: The random generator.
        size: Height and width in pixels.
        view: CC or MLO.
        density: 1 (fat) to 4 (dense).
    """
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    coarse, fine = _textures(rng, size)
    radius = _radius(rng, rows / height, columns / width, view)
    thickness = np.sqrt(np.clip(1 - radius**5, 0, 1))
    middle = np.exp(-(((radius - rng.uniform(0.4, 0.6)) / 0.35) ** 2))
    gland = 1 / (1 + np.exp(-2.2 * (coarse + 0.55 * density - 2.0 + 0.9 * middle)))
    pectoral = _pectoral(rng, rows / height, columns / width) if view == "MLO" else np.zeros(size, np.float32)
    skin = np.exp(-(((radius - 0.985) / 0.012) ** 2))
    tissue = thickness * (0.22 + 0.24 * gland + 0.03 * fine * (0.4 + gland)) + 0.07 * skin
    tissue += thickness * (0.055 * _strands(rng, size, radius) + 0.2 * pectoral * (1 - 0.5 * gland))
    tissue[radius >= 1] = 0
    return Breast(tissue.astype(np.float32), radius.astype(np.float32), pectoral.astype(np.float32))


def _textures(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Make coarse and fine 1/f noise of mean 0 and deviation 1; the power of parenchyma falls with about f^-3."""
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1], d=size[0] / size[1])[None])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal(size) + 1j * rng.standard_normal(size))
    fields: list[np.ndarray] = []
    for power, lowest in ((2.2, 2 / size[0]), (1.4, 8 / size[0])):
        both = np.fft.ifft2(spectrum / np.maximum(frequency, lowest) ** power)
        field = both.real if not fields else both.imag
        fields.append((field - field.mean()) / field.std())
    return fields[0], fields[1]


def _radius(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, view: str) -> np.ndarray:
    middle = rng.uniform(0.47, 0.53) if view == "CC" else rng.uniform(0.53, 0.56)
    depth, half = rng.uniform(0.58, 0.82), rng.uniform(0.36, 0.43)
    upper = half if view == "CC" else rng.uniform(0.62, 0.75)
    lower = half * (1.0 if view == "CC" else 0.95)
    along = (y - middle) / np.where(y < middle, upper, lower)
    power = rng.uniform(1.9, 2.4)
    radius = (np.abs(along) ** power + (x / depth) ** power) ** (1 / power)
    angle = np.arctan2(along, x / depth)
    wave = sum(rng.normal(0, 0.012) * np.cos(order * angle + rng.uniform(0, 6.3)) for order in (2, 3, 5))
    nipple = 0.035 * np.exp(-(((angle - rng.uniform(-0.1, 0.25)) / 0.05) ** 2))
    return radius * (1 + wave - nipple)


def _pectoral(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    wide, long = rng.uniform(0.28, 0.42), rng.uniform(0.5, 0.75)
    curve = rng.uniform(-0.05, 0.05) * np.sin(np.pi * np.clip(y / long, 0, 1))
    edge = 1 - x / wide - y / long + curve
    return np.clip(edge / 0.05, 0, 1)


def _strands(rng: np.random.Generator, size: tuple[int, int], radius: np.ndarray) -> np.ndarray:
    """Draw ligaments and vessels: thin curved lines, most of them towards the nipple."""
    height, width = size
    canvas = np.zeros(size, np.float32)
    nipple = np.array([0.75 * width, 0.52 * height])
    for _ in range(rng.integers(25, 45)):
        start = rng.uniform((0, 0.1 * height), (0.65 * width, 0.9 * height))
        toward = (nipple - start) * rng.uniform(0.2, 0.7) + rng.normal(0, 0.09 * height, 2)
        bend = rng.normal(0, 0.05 * height, 2)
        t = np.linspace(0, 1, 12)[:, None]
        points = start + t * toward + (t * (1 - t)) * bend * 2
        line = np.round(points * 8).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, float(rng.uniform(0.4, 1.0)), int(rng.integers(1, 3)), cv2.LINE_AA, 3)
    return cv2.GaussianBlur(canvas, (0, 0), max(0.6, 0.9 * unit_px(size))) * (radius < 0.97)


def expose(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Turn tissue into a film, uint16 [H, W] of 12 bits: exposure, gamma, blur of the screen, grain and dark air."""
    unit = unit_px(tissue.shape)
    light = np.clip(tissue * rng.uniform(0.95, 1.3), 0, 1.2) ** rng.uniform(0.85, 1.15)
    light = cv2.GaussianBlur(light.astype(np.float32), (0, 0), max(0.3, rng.uniform(0.4, 0.7) * unit))
    grain = rng.standard_normal(tissue.shape, dtype=np.float32) * rng.uniform(0.008, 0.016)
    value = rng.uniform(60, 160) + 3500 * light + WHITE * grain * (0.25 + np.sqrt(np.clip(light, 0, 1)))
    return np.clip(np.round(value), 0, WHITE).astype(np.uint16)


def write_on_film(rng: np.random.Generator, film: np.ndarray, letters: str) -> np.ndarray:
    """Write letters such as `L CC` in the upper corner away from the chest wall, and on every third film a border.

    The chest wall is at the brighter side; the border is along the opposite side or along the bottom.
    """
    width, unit = film.shape[1], unit_px(film.shape)
    wall_left = film[:, : width // 4].mean() > film[:, -(width // 4) :].mean()
    scale, gap = 0.55 * unit, round(12 * unit)
    (wide, high), _ = cv2.getTextSize(letters, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    ink = np.zeros(film.shape, np.uint8)
    corner = (width - wide - gap if wall_left else gap, high + gap)
    cv2.putText(ink, letters, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    out = np.maximum(film, ink * np.uint16(WHITE // 255))
    if rng.random() < BORDER_SHARE:
        thick = max(2, round(rng.uniform(3, 6) * unit))
        side = np.s_[:, -thick:] if wall_left else np.s_[:, :thick]
        out[side if rng.random() < 0.6 else np.s_[-thick:]] = WHITE
    return out
