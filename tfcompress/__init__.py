"""Compress a transfer-learned Keras model, export it to TFLite, and know what it cost."""

__version__ = "0.1.0"
