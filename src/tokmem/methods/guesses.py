"""What users of other libraries try on a memory, and what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from tokmem.errors import BankError

_KEPT = "nothing: the backbone is frozen, and the bank remembers what is trained"
_PLACED = 'TokMem("NAME", device="cuda"): a backbone stays where it was loaded'
_EVALUATE = "memory.evaluate(examples)"
_SAVE = "memory.save(folder), and TokMem.load(folder)"
_ADD = "memory.add(name, description)"
_LIST = "list(memory)"

INSTEAD = {
    "generate": "memory.recall(query), or memory.predict(query) for the text alone",
    "ask": "memory.recall(query)",
    "predict_proba": "memory.route(query).choices",
    "classify": "memory.route(query).procedure",
    "score": _EVALUATE,
    "test": _EVALUATE,
    "encode": "memory.encoder.prompt(example)",
    "train": "memory.fit(examples)",
    "fit_transform": "memory.fit(examples)",
    "partial_fit": "memory.fit(examples): a further call trains the procedures added since",
    "finetune": "memory.fit(examples)",
    "eval": f"{_EVALUATE} to measure; to prepare for recall, {_KEPT}",
    "freeze": _KEPT,
    "to": _PLACED,
    "cuda": _PLACED,
    "cpu": _PLACED,
    "parameters": "memory.bank.parameters()",
    "state_dict": _SAVE,
    "load_state_dict": _SAVE,
    "print_trainable_parameters": "print(memory.trainable_parameters)",
    "names": _LIST,
    "keys": _LIST,
    "items": "memory.procedures.items()",
    "values": "memory.procedures.values()",
    "get": 'memory.procedures.get("NAME")',
    "pop": 'memory.remove("NAME")',
    "delete": 'memory.remove("NAME")',
    "clear": "memory.remove(*memory)",
    "append": _ADD,
    "add_procedure": _ADD,
    "add_procedures": _ADD,
    "add_tool": "memory.add(name, description, parameters)",
    "model": "memory.backbone.model",
    "tokenizer": "memory.backbone.tokenizer",
    "config": "memory.backbone.model.config",
    "device": "memory.backbone.device",
    "dtype": "memory.backbone.model.dtype",
    "to_hf": "memory.export(folder)",
    "save_gguf": "memory.export(folder, to='gguf')",
    "serve": "tokmem serve BANK",
}


class Guesses:
    """Answers a guessed attribute, or an assignment to a procedure, with what to write instead."""

    if not TYPE_CHECKING:  # a type checker still finds unknown attributes

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in INSTEAD:
                text += f"; write {INSTEAD[name]}"
            raise AttributeError(text, name=name, obj=self)

    def __setitem__(self, name: object, value: object) -> NoReturn:
        raise BankError(
            f"an assignment to memory[{name!r:.40}]",
            "a procedure that is added and then trained",
            "memory.add(name, description), then memory.fit(pairs, procedure=name)",
        )
