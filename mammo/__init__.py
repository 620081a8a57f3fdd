"""Mammogram classification with PaddlePaddle's high-level API."""

__version__ = "0.1.0"
