"""The bundled backbone and the generators of its procedures."""
