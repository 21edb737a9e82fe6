"""The bundled backbones and the generators of their procedures and tools."""
