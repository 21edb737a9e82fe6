"""Samplers of inputs with their right responses; a family of procedures is one sampler and its wordings."""
