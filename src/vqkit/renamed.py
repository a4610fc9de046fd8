"""What was called differently before the first release: whoever types an old name is given the new one.

Nothing old works under its old name, and no old name may be given another meaning as long as it stands here.
"""

from __future__ import annotations

KEYS = {
    "condition": "conditioning",
    "condition.told": "conditioning.condition_on",
    "condition.drop": "conditioning.drop",
    "condition.hide_values": "conditioning.hide_values",
    "condition.keep": "conditioning.keep",
    "condition.kind": "conditioning.kind",
    "conditioning.told": "conditioning.condition_on",
    "masking.max": "masking.max_probability",
    "loss.adversarial_after_epochs": "loss.discriminator_start_epoch",
    "loss.discriminator_rate": "loss.discriminator_lr_scale",
    "training.final_learning_rate": "training.final_lr_scale",
    "training.max_bad_steps": "training.max_skipped_steps",
    "model.coarse_only": "model.level_dropout",
    "model.discriminator_penalty": "model.gradient_penalty",
    "model.discriminator_rate": "model.discriminator_lr_scale",
    "model.generator_rate": "model.generator_lr_scale",
    "quantizer.depth": "quantizer.num_quantizers",
    "quantizer.restart_every": "quantizer.reset_every",
    "quantizer.restart_threshold": "quantizer.reset_threshold",
}
"""Settings: the old key and the new one. Those of a registered part follow its kind, such as model or quantizer."""

OPTIONS = {
    ("sample", "--cond"): "--condition NAME=VALUE",
    ("inpaint", "--cond"): "--condition NAME=VALUE",
    ("decode", "--cond"): "--condition NAME=VALUE",
    ("train-prior", "--condition"): "--condition-on KINDS",
    ("evaluate", "--conditions"): "--with-conditions",
}
"""Options of commands: the command with the old option, and the new one."""

MODULES = {
    "atomic": "vqkit.core.atomic",
    "bounds": "vqkit.evaluation.bounds",
    "building": "vqkit.training.building",
    "checkpoint": "vqkit.storage.checkpoints",
    "code_rates": "vqkit.evaluation.code_rates",
    "codebook": "vqkit.evaluation.codebook_usage",
    "codes": "vqkit.storage.code_files",
    "coding": "vqkit.training.code_cache",
    "completing": "vqkit.inference.completions",
    "completion_quality": "vqkit.evaluation.completion_quality",
    "conditioning": "vqkit.inference.conditioning",
    "distributed": "vqkit.core.distributed",
    "drawing": "vqkit.inference.samples",
    "encoding": "vqkit.inference.encoding",
    "evaluate": "vqkit.evaluation.autoencoder",
    "evaluate_prior": "vqkit.evaluation.prior",
    "feature_distances": "vqkit.evaluation.feature_distances",
    "generate": "vqkit.inference.pipeline",
    "generative": "vqkit.interfaces.models",
    "held_out": "vqkit.data.subsets",
    "inpaint": "vqkit.inference.inpaint",
    "level_parts": "vqkit.evaluation.level_ablation",
    "likelihoods": "vqkit.models.likelihoods",
    "masking": "vqkit.data.masking",
    "memory": "vqkit.core.memory",
    "metrics": "vqkit.evaluation.metrics",
    "model_sampler": "vqkit.inference.model_sampler",
    "optimization": "vqkit.training.optimization",
    "precision": "vqkit.core.precision",
    "progress": "vqkit.training.progress",
    "randomness": "vqkit.core.randomness",
    "runs": "vqkit.storage.runs",
    "sample_quality": "vqkit.evaluation.sample_quality",
    "sampler": "vqkit.inference.sampler",
    "sampling": "vqkit.interfaces.priors",
    "settling": "vqkit.inference.postprocess",
    "shape_statistics": "vqkit.evaluation.shape_statistics",
    "tasks": "vqkit.training.tasks",
    "torchvision_import": "vqkit.core.torchvision_import",
    "tracking": "vqkit.training.tracking",
    "trainer": "vqkit.training.trainer",
}
"""Modules below `vqkit`: the old name and the module that holds most of it now."""
