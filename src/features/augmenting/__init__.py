"""Transforms of training batches, each image with parameters of its own; `augment.py` holds the tables."""
