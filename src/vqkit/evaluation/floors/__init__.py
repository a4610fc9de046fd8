"""Simple predictors on the same images, with the same parts missing, as a model: it has to be better than each of them."""

from __future__ import annotations

from vqkit.evaluation.floors.fitting import FittedFloors
from vqkit.evaluation.floors.kept import kept_floors
from vqkit.evaluation.floors.measuring import HeldOutImages, measure_floors
from vqkit.evaluation.floors.predictors import Known

__all__ = ["FittedFloors", "HeldOutImages", "Known", "kept_floors", "measure_floors"]
