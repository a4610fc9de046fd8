"""Losses on whole pictures, added to a model's own: what is not a matter of single pixels."""
