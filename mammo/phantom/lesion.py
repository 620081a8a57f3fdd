"""Draws the phantom's lesions: arrays of the profile and the outline of a mass or a calcification cluster.

The classes differ in shape only. Their sizes come from one distribution, and each profile is scaled to the same sum
for its size, so neither the mean nor the extent separates the classes.
"""

import cv2
import numpy as np

FINE = 4  # lesions are drawn this many times finer than the film, then averaged
RADIUS = {"mass": (13.0, 23.0), "calcification": (12.0, 20.0)}
CONTRAST = {"mass": (0.08, 0.22), "calcification": (0.17, 0.42)}
Stroke = tuple[np.ndarray, float, float]  # points [k, 2] around the lesion's centre, width, brightness


def lesion_radius(lesion_type: str, size: float, unit: float) -> float:
    """Return the radius in film pixels of a size in 0-1."""
    low, high = RADIUS[lesion_type]
    return (low + size * (high - low)) * unit


def draw_lesion(
    rng: np.random.Generator, lesion_type: str, *, malignant: bool, radius: float, contrast: float, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one lesion as one view shows it.

    Args:
        rng: The random generator.
        lesion_type: mass or calcification.
        malignant: Spiculated, or pleomorphic and branching; otherwise smooth, or round and regular.
        radius: In film pixels.
        contrast: In 0-1 of the type's range.
        unit: Film pixels per pixel of the design size.

    Returns:
        A profile to add to the tissue, float32 [n, n], and the outline that a reader would mark, bool [n, n]; n is odd.
    """
    draw = _draw_mass if lesion_type == "mass" else _draw_cluster
    profile, outline = draw(rng, malignant, radius, unit)
    low, high = CONTRAST[lesion_type]
    return (profile * (low + contrast * (high - low))).astype(np.float32), _grown(rng, outline, radius)


def _draw_mass(rng: np.random.Generator, malignant: bool, radius: float, unit: float) -> tuple[np.ndarray, np.ndarray]:
    half = int(np.ceil(2.6 * radius)) + 2
    side = 2 * half + 1
    core = radius * (rng.uniform(0.7, 0.87) if malignant else rng.uniform(0.83, 1.0))
    edge = _edge(rng, core, orders=range(2, 9) if malignant else range(2, 5), amplitude=0.05 if malignant else 0.04)
    body = _filled(side, [edge])
    body = cv2.GaussianBlur(body, (0, 0), FINE * radius * rng.uniform(0.05, 0.14)) * rng.uniform(0.85, 1.0)
    lines = _strokes(side, _chords(rng, radius, int(rng.integers(1, 4) if malignant else rng.integers(2, 6)), unit))
    spicules = _spicules(rng, core, int(rng.integers(9, 16)), unit) if malignant else []
    drawn = np.maximum(body, 0.85 * _filled(side, spicules)) + rng.uniform(0.15, 0.3) * lines
    drawn = cv2.GaussianBlur(drawn, (0, 0), FINE * 0.5 * unit)
    profile = _averaged(drawn, side)
    short = [_shortened(spicule, 1.3 * core) for spicule in spicules]
    outline = _averaged(_filled(side, [edge, *short]), side) > 0.4
    return profile * (0.75 * np.pi * radius**2 / profile.sum()), outline


def _edge(rng: np.random.Generator, radius: float, *, orders: range, amplitude: float) -> np.ndarray:
    """Draw outline points [k, 2] around the origin: an ellipse with a few harmonics."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    waves = sum(
        rng.normal(0, amplitude) / np.sqrt(order / 2) * np.cos(order * angle + rng.uniform(0, 6.3)) for order in orders
    )
    stretch = np.sqrt(rng.uniform(0.7, 1.0))
    points = np.stack([np.cos(angle) / stretch, np.sin(angle) * stretch], 1) * (radius * (1 + waves))[:, None]
    return points @ _turn(rng.uniform(0, np.pi))


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _spicules(rng: np.random.Generator, core: float, count: int, unit: float) -> list[np.ndarray]:
    """Draw tapering spikes that radiate from the core, each a triangle [3, 2]: base, base, tip."""
    angles = 2 * np.pi * (np.arange(count) + rng.uniform(-0.35, 0.35, count)) / count + rng.uniform(0, 6.3)
    spikes = []
    for angle in angles:
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        width = max(0.9 * unit, core * rng.uniform(0.09, 0.15))
        base = 0.75 * core * along
        tip = core * rng.uniform(1.4, 2.3) * along + core * rng.normal(0, 0.2) * across
        spikes.append(np.stack([base + width * across, base - width * across, tip]))
    return spikes


def _shortened(spike: np.ndarray, reach: float) -> np.ndarray:
    tip = spike[2]
    return np.stack([spike[0], spike[1], tip * min(1.0, reach / np.linalg.norm(tip))])


def _chords(rng: np.random.Generator, radius: float, count: int, unit: float) -> list[Stroke]:
    """Draw strands that pass beside or across the lesion, in any direction except the radial one."""
    chords = []
    for _ in range(count):
        turn = _turn(rng.uniform(0, 2 * np.pi))
        start, length = rng.uniform(-1.8, 0.2) * radius, rng.uniform(0.8, 2.2) * radius
        t = np.linspace(0, 1, 8)
        bend = rng.normal(0, 0.25) * radius * t * (1 - t) * 4
        points = np.stack([start + length * t, rng.uniform(0.45, 1.7) * radius + bend], 1) @ turn
        chords.append((points, rng.uniform(0.8, 1.8) * unit, rng.uniform(0.5, 1.0)))
    return chords


def _draw_cluster(
    rng: np.random.Generator, malignant: bool, radius: float, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    half = int(np.ceil(1.8 * radius)) + 2
    side = 2 * half + 1
    strokes = _branching_calcifications(rng, radius, unit) if malignant else _round_calcifications(rng, radius, unit)
    profile = _averaged(cv2.GaussianBlur(_strokes(side, strokes), (0, 0), FINE * 0.35 * unit), side)
    hull = cv2.convexHull(np.concatenate([points for points, _, _ in strokes]).astype(np.float32))[:, 0]
    outline = _averaged(_filled(side, [hull]), side) > 0.4
    return profile * (7.0 * unit / np.sqrt((profile**2).sum())), outline


def _round_calcifications(rng: np.random.Generator, radius: float, unit: float) -> list[Stroke]:
    """Draw round and regular calcifications: dots of similar size, scattered evenly over the disc."""
    width = rng.uniform(2.0, 3.2) * unit
    dots = []
    for place in _scattered(rng, int(rng.integers(7, 14)), 1.06 * radius):
        dots.append((np.stack([place, place]), width * rng.uniform(0.88, 1.12), rng.uniform(0.85, 1.0)))
    return dots


def _branching_calcifications(rng: np.random.Generator, radius: float, unit: float) -> list[Stroke]:
    """Draw pleomorphic, fine linear and branching ones: strokes and forks of different size along one duct."""
    duct = rng.uniform(0, np.pi)
    strokes = []
    for place in _scattered(rng, int(rng.integers(6, 12)), 0.92 * radius):
        direction = duct + rng.normal(0, 0.45)
        length, width, light = rng.uniform(3.0, 9.0) * unit, rng.uniform(1.1, 2.1) * unit, rng.uniform(0.55, 1.0)
        forks = (0.0,) if rng.random() < 0.6 else (0.0, rng.choice((-1, 1)) * rng.uniform(0.5, 0.9))
        start = place - 0.5 * length * np.array([np.cos(direction), np.sin(direction)])
        for fork in forks:
            way = np.array([np.cos(direction + fork), np.sin(direction + fork)])
            strokes.append((np.stack([start, start + way * length * (1.0 if fork == 0 else 0.7)]), width, light))
    return strokes


def _scattered(rng: np.random.Generator, count: int, radius: float) -> np.ndarray:
    """Draw points [count, 2] in a disc, each the one of four draws that is farthest from the earlier points."""
    places = np.zeros((0, 2))
    for _ in range(count):
        angle, distance = rng.uniform(0, 2 * np.pi, 4), radius * 0.92 * np.sqrt(rng.random(4))
        draws = np.stack([np.cos(angle), np.sin(angle)], 1) * distance[:, None]
        gaps = np.linalg.norm(draws[:, None] - places[None], axis=2).min(axis=1, initial=np.inf)
        places = np.vstack([places, draws[gaps.argmax()]])
    return places


def _to_canvas(side: int, points: np.ndarray) -> np.ndarray:
    return np.round((points * FINE + side * FINE / 2) * 8).astype(np.int32).reshape(-1, 1, 2)


def _filled(side: int, shapes: list[np.ndarray]) -> np.ndarray:
    canvas = np.zeros((side * FINE, side * FINE), np.float32)
    for shape in shapes:
        cv2.fillPoly(canvas, [_to_canvas(side, shape)], 1.0, cv2.LINE_AA, 3)
    return canvas


def _strokes(side: int, strokes: list[Stroke]) -> np.ndarray:
    canvas = np.zeros((side * FINE, side * FINE), np.float32)
    for points, width, light in strokes:
        line, thick = _to_canvas(side, points), max(1, round(width * FINE))
        cv2.polylines(canvas, [line], False, float(light), thick, cv2.LINE_AA, 3)
    return canvas


def _averaged(canvas: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)


def _grown(rng: np.random.Generator, outline: np.ndarray, radius: float) -> np.ndarray:
    """Grow the outline by up to a third of the radius and move it a little: readers mark generously and vary."""
    grow = round(rng.uniform(0.05, 0.33) * radius)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    moved = np.roll(outline, tuple(np.round(rng.uniform(-0.1, 0.1, 2) * radius).astype(int)), axis=(0, 1))
    return cv2.dilate(moved.astype(np.uint8), kernel) > 0
