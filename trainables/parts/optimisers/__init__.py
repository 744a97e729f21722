"""Optimisers. Each file here but `contract` is one, and registers it."""

from data.registry.parts import import_all
from trainables.parts.optimisers.contract import OPTIMISERS, Optimiser

import_all(__name__)

__all__ = ["OPTIMISERS", "Optimiser"]
