"""Fusions: from audio and visual embeddings to one sequence. Each file here but `contract` is one, and registers it."""

from data.registry.parts import import_all
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule

import_all(__name__)

__all__ = ["FUSIONS", "Fusion", "FusionModule"]
