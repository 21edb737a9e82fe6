"""The frozen backbone, and the layers that give it a bank of memory tokens."""
