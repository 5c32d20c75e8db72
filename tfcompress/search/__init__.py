"""Finds a recipe within a budget of bytes, accuracy and time.

    config = SearchConfig(run=RunConfig(...), budget=Budget(max_size_bytes=100_000, max_drop=0.01))
    record = search(config, "runs/search")
    print(record.winner.recipe, record.reached)

`space` is the text form of what is tried, `study` the trials that workers share, `trial` carries
one out, `stopping` ends poor ones, `front` judges what is left, `searching` is the whole.
"""

from tfcompress.budgets import Budget
from tfcompress.search.config import SAMPLERS, SearchConfig
from tfcompress.search.searching import search
from tfcompress.search.space import SpaceError
from tfcompress.search.storage import StorageError

__all__ = ["SAMPLERS", "Budget", "SearchConfig", "SpaceError", "StorageError", "search"]
