"""Inference with trained models: inpainting, sampling, encoding and decoding."""
