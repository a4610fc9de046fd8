"""Tasks: the training objectives of models, priors and encoders."""
