"""A page in the browser to try a bank: ask it, add and remove procedures, compare with the bare model."""
