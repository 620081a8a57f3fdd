"""A decoded film and its lesion's box enter; what a network is shown of it leaves, as training and evaluation show it."""

import numpy as np

from mammo.errors import ImageError
from mammo.images.film import Film
from mammo.images.geometry import Box
from mammo.images.normalise import to_network, to_unit
from mammo.images.preprocess import PreprocessSettings, prepare_film, prepare_lesions
from mammo.images.test_time import look, variants
from mammo.setting_types import Strict
from mammo.settings import TestTimeSettings


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


def network_input(film: Film, form: InputForm, *, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Show one film to a network; of a network for breasts, it is the only view.

    Args:
        film: The decoded film.
        form: What the network wants.
        box: The lesion's place in the film's pixels (x, y, width, height); needed by, and only for, a network for lesions.

    Returns:
        Image float32 [looks, views, channels, height, width], and present bool [looks, views].

    Raises:
        ImageError: A network for lesions has no box, or it lies off the film.
    """
    if form.preprocess.task == "lesion":
        if box is None:
            advice = "give --box x,y,width,height, or use a model of data.task=image"
            raise ImageError(f"this is a lesion model and needs to know where to look; {advice}")
        pixels = prepare_lesions(film, [box], form.preprocess)[0].pixels
    else:
        pixels = prepare_film(film, form.preprocess).pixels
    unit, looks = to_unit(pixels), variants(form.test_time)
    image = np.zeros((len(looks), *form.shape), np.float32)
    for number, variant in enumerate(looks):
        image[number, 0] = to_network(look(unit, form.preprocess.image_size, variant), form.channels)
    present = np.zeros((len(looks), form.views), bool)
    present[:, 0] = True
    return image, present
