"""Visual encoders: from what there is to see to an embedding for each label frame. Each file is one, but for
`contract`, `backbone` and `modules`, which they share."""

from data.registry.parts import import_all
from trainables.parts.visual.contract import VISUAL_ENCODERS, VisualEncoder

import_all(__name__)

__all__ = ["VISUAL_ENCODERS", "VisualEncoder"]
