"""Simple predictors on the same images, with the same parts missing, as a model: it has to be better than each of them."""

from __future__ import annotations

from vqkit.evaluation.floors.fitting import FittedFloors
from vqkit.evaluation.floors.kept import kept_floors
from vqkit.evaluation.floors.measuring import FITTED_ON_THESE, HeldOutImages, measure_floors, without_nearest
from vqkit.evaluation.floors.predictors import Known

__all__ = ["FITTED_ON_THESE", "FittedFloors", "HeldOutImages", "Known", "kept_floors", "measure_floors", "without_nearest"]
