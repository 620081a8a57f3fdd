"""An exponential moving average of a network's weights and statistics; scoring uses it in their place."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mammo.runtime import paddle


class WeightAverage:
    """Averages after each step. The decay starts low, so that the weights of the first steps are soon forgotten."""

    def __init__(self, network: paddle.nn.Layer, decay: float) -> None:
        self._network, self._decay = network, decay
        self.steps = 0
        self._averages = {name: value.clone().detach() for name, value in network.state_dict().items()} if decay else {}

    def update(self) -> None:
        """Add the weights after a step."""
        if not self._decay:
            return
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        with paddle.no_grad():
            for name, value in self._network.state_dict().items():
                average = self._averages[name]
                paddle.assign(average * decay + value.astype(average.dtype) * (1 - decay), average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the network's place while the block runs."""
        if not self._decay:
            yield
            return
        own = to_arrays(self._network.state_dict())
        self._network.set_state_dict(self._averages)
        try:
            yield
        finally:
            self._network.set_state_dict(own)

    def state(self) -> dict[str, np.ndarray]:
        """The averages, to be saved."""
        return to_arrays(self._averages)

    def restore(self, arrays: dict[str, np.ndarray], steps: int) -> None:
        """Restore saved averages."""
        self._averages = {name: paddle.to_tensor(arrays[name]) for name in self._averages}
        self.steps = steps


def to_arrays(state: dict[str, paddle.Tensor]) -> dict[str, np.ndarray]:
    """Copy a state dict to NumPy arrays."""
    return {name: np.array(value.numpy()) for name, value in state.items()}
