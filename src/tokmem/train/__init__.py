"""Training: the loss, the frozen prefix, and one `fit` for all tracks."""
