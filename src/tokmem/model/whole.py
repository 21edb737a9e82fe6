"""Whether a model has all its weights from the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing it takes seconds
    from transformers import PreTrainedModel


def lost_weights(model: PreTrainedModel, info: Mapping[str, Any]) -> list[str]:
    """Names of weights that a checkpoint lacks. Transformers draws such at random, and only warns.

    Args:
        model: the model as it was loaded.
        info: what `from_pretrained` returns beside it with `output_loading_info`.
    """
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    return sorted(set(info["missing_keys"]) - tied)
