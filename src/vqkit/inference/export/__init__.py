"""Trained models as graphs that run without vqkit: ONNX and torch.export."""
