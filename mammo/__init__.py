"""mammo: from mammograms to an honest probability of malignancy, with PaddlePaddle's high-level API."""

__version__ = "0.1.0"
