"""Self-supervised pretraining of encoders: methods, augmented views, and probes of the learned features."""
