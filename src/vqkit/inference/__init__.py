"""Using trained models: filling in, sampling, encoding."""
