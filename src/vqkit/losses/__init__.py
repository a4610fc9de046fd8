"""Perceptual and adversarial losses: what a loss over single pixels does not capture."""
