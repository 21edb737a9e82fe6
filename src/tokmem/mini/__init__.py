"""The bundled backbone and the generators of their procedures and tools."""
