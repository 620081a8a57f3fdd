"""A drawn film whose breast is known: half an ellipse at the left edge."""

import cv2
import numpy as np

SIZE = (600, 500)
CENTRE, AXES = (0, 300), (260, 200)


def drawn_breast(size: tuple[int, int] = SIZE) -> np.ndarray:
    """bool [height, width]: where the breast was drawn."""
    return cv2.ellipse(np.zeros(size, np.uint8), CENTRE, AXES, 0, 0, 360, 1, cv2.FILLED).astype(bool)


def drawn_film(*, letters: bool = False, border: int = 0) -> np.ndarray:
    """uint16: a textured breast at the left, air elsewhere, perhaps burned-in letters and a white border."""
    random = np.random.default_rng(0)
    film = np.full(SIZE, 900.0) + random.normal(0, 60, SIZE)
    tissue = cv2.GaussianBlur(random.normal(0, 1, SIZE), (0, 0), 12)
    film[drawn_breast()] = (25000 + 60000 * tissue)[drawn_breast()].clip(12000, 45000)
    if letters:
        ink = cv2.putText(np.zeros(SIZE, np.uint8), "RCC", (330, 80), cv2.FONT_HERSHEY_SIMPLEX, 2.5, 1, 12)
        film[ink > 0] = 65535
        film[520:545, 360:480] = 65535
    if border:
        film[:border], film[-border:] = 65535, 65535
        film[:, :border], film[:, -border:] = 65535, 65535
    return film.clip(0, 65535).astype(np.uint16)
