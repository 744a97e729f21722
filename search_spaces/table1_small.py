"""`table1-small`: the same rows at sizes for a laptop."""

from __future__ import annotations

from search_spaces.table1 import ROWS, table1_space

TABLE1_SMALL = table1_space(ROWS, size="small", seeds=(0, 1, 2))
