"""The configuration of a run: what may be set, what it means, and how files and the command line are merged. No torch here.

A configuration is frozen, refuses keys it does not know, and is written whole into `run.yaml`. Settings of a model, a
quantizer, a prior or a data set live beside its class (its `Options`); here they are a name and the rest.
"""

from __future__ import annotations

from vqkit.config.files import apply_override, load_config, merge, merge_lengths, read_config_file
from vqkit.config.groups import (
    DEFAULT_EPOCHS,
    LEAST_STEPS,
    ConditioningConfig,
    EncoderConfig,
    HolesConfig,
    LevelsConfig,
    LossConfig,
    MaskingConfig,
    PretrainingLoopConfig,
    TokenizerConfig,
    TrackerName,
    TrainingConfig,
    ViewsConfig,
)
from vqkit.config.runs import SCHEMAS, AnyRunConfig, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.config.settings import NamedOptions, Settings, describe_validation_error
from vqkit.config.yaml_text import dump_yaml, parse_yaml

__all__ = [
    "DEFAULT_EPOCHS",
    "LEAST_STEPS",
    "SCHEMAS",
    "AnyRunConfig",
    "ConditioningConfig",
    "EncoderConfig",
    "HolesConfig",
    "LevelsConfig",
    "LossConfig",
    "MaskingConfig",
    "NamedOptions",
    "PretrainingLoopConfig",
    "PretrainingRunConfig",
    "PriorRunConfig",
    "RunConfig",
    "Settings",
    "TokenizerConfig",
    "TrackerName",
    "TrainingConfig",
    "ViewsConfig",
    "apply_override",
    "describe_validation_error",
    "dump_yaml",
    "load_config",
    "merge",
    "merge_lengths",
    "parse_yaml",
    "read_config_file",
]
