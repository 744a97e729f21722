"""Output formats. Each file here but `contract` is one, and registers it."""

from data.registry.parts import import_all
from trainables.parts.outputs.contract import NUM_DIRECTION_AXES, OUTPUTS, Output

import_all(__name__)

__all__ = ["NUM_DIRECTION_AXES", "OUTPUTS", "Output"]
