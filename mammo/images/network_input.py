"""A decoded film and its lesion's box enter; what a network is shown of it leaves, as training and evaluation show it."""

from dataclasses import dataclass

import numpy as np

from mammo.errors import ImageError
from mammo.images.film import Film
from mammo.images.geometry import Box
from mammo.images.normalise import to_network, to_unit
from mammo.images.preprocess import PreprocessSettings, prepare_film, prepare_lesions
from mammo.images.test_time import look, variants
from mammo.settings.schema import TestTimeSettings
from mammo.settings.types import Strict


class InputForm(Strict):
    """What a network wants to see of a film; a copy travels with every export.

    Attributes:
        preprocess: How the film, or the crop around a lesion, is prepared.
        channels: 1, or 3 where the film is repeated.
        views: Films of a case: 2 for a breast, else 1.
        test_time: The looks whose logits are averaged.
    """

    preprocess: PreprocessSettings
    channels: int
    views: int
    test_time: TestTimeSettings

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(views, channels, height, width) of one look."""
        return self.views, self.channels, *self.preprocess.image_size


@dataclass(frozen=True)
class NetworkInput:
    """What a network is shown of a film.

    Attributes:
        image: float32 [looks, views, channels, height, width].
        present: bool [looks, views].
        remarks: Keys of `remarks.REMARKS`, on the film, the breast and the box.
    """

    image: np.ndarray
    present: np.ndarray
    remarks: tuple[str, ...]


def network_input(film: Film, form: InputForm, *, box: Box | None = None) -> NetworkInput:
    """Show one film to a network; of a network for breasts, it is the only view.

    Args:
        film: The decoded film.
        form: What the network wants.
        box: The lesion's place in the film's pixels (x, y, width, height); needed by, and only for, a network for lesions.

    Raises:
        ImageError: A network for lesions has no box, or it is none on this film; or the film is of raw detector values.
    """
    if form.preprocess.task == "lesion":
        if box is None:
            advice = "give --box x,y,width,height, or use a model of data.task=image"
            raise ImageError(f"this is a lesion model and needs to know where to look; {advice}")
        prepared = prepare_lesions(film, [box], form.preprocess)[0]
    else:
        prepared = prepare_film(film, form.preprocess)
    unit, looks = to_unit(prepared.pixels), variants(form.test_time)
    image = np.zeros((len(looks), *form.shape), np.float32)
    for number, variant in enumerate(looks):
        image[number, 0] = to_network(look(unit, form.preprocess.image_size, variant), form.channels)
    present = np.zeros((len(looks), form.views), bool)
    present[:, 0] = True
    return NetworkInput(image, present, prepared.remarks)
