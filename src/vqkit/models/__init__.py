"""Autoencoders: image models that see a part and give back the whole."""
