"""TokMem: a procedural memory for frozen language models, one trained token per procedure."""
