"""Compressed files of images: codes under a trained prior, and what these leave out."""
