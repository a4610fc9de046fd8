"""The panels in which `--help` groups the options of a command."""

from __future__ import annotations

INPUT = "Input"
KNOWN = "What is known"
MODEL = "Model and data"
MASKING = "Masking"
SAMPLING = "Sampling"
TRAINING = "Training"
MEASUREMENT = "Measurement"
OUTPUT = "Output"
RUNTIME = "Runtime"
