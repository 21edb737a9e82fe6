"""What the columns of tables mean, in words: the one list that `--explain` reads."""

from __future__ import annotations

from collections.abc import Mapping

_CALLS = "calls are compared as tool and arguments, each counted as often as it occurs"
MEANINGS: Mapping[str, str] = {
    "method": "what was trained or asked: tokmem is one memory token a procedure, base the bare frozen model",
    "prompt": "what the model was given: the query alone, or an instruction before it",
    "procedure": "one skill of the bank: a task, a tool, or a prompt that is used again and again",
    "queries": "how many test queries were asked; no training saw them",
    "train_size": "training examples of each task",
    "stage": "how many tasks had been learned when this was measured",
    "routing_accuracy": "of 100 queries, how many were answered with the right procedure's memory token",
    "exact_match": "of 100 answers, how many equal a right answer, word for word",
    "rouge_l": "how alike answer and right answer are: 100 has the same words in the same order (ROUGE-L)",
    "rouge_l_forced": "the same with the right memory token given: how good answers are apart from routing",
    "trainable_parameters": "how many numbers training may change; the backbone's own never change",
    "prompt_tokens_per_query": "tokens that the model reads before it can answer, a mean over queries",
    "train_seconds": "seconds that training took",
    "queries_per_second": "queries answered in a second, in batches",
    "adaptation_lora_parameters": "numbers of the adapter that prepared the backbone before the first round",
    "adaptation_seconds": "seconds that this preparation took",
    "tool_f1": "agreement between the called tools and the right ones, 100 at best, in any order",
    "call_f1": f"agreement between whole calls, 100 at best; {_CALLS}",
    "call_f1_forced": f"the same with the right tools given; {_CALLS}",
    "call_exact": "of 100 queries, how many got all calls right and none beside",
    "invalid_json": "of 100 calls, how many have arguments that are no JSON object",
    "train_max_calls": "the most calls in a training query",
    "embeddings": "how many memory tokens together hold the passages",
    "tokens": "how many tokens were to be memorised",
    "dimension": "how many numbers of each memory token were trained",
    "compliance": "of 100 answers, how many end in the form that was asked for (####)",
    "perplexity": "how surprised the model is by the right text: 1 is not at all",
    "steps_to_90": "training steps until the perplexity was at most the best one that came, divided by 0.9",
    "token_accuracy": "of 100 tokens, how many were written right after the right ones before them",
    "recovered_sequences": "of 100 passages, how many came back whole, written freely",
    "recovered_tokens": "how many tokens came back in passages that are right up to there",
    "bits_per_embedding": "information that one memory token holds, in bits",
    "width": "how many tokens stand for the prompt; an adapter has none",
    "kept": "on how many tasks the student has nearly the score of its teacher",
    "teacher": "score (ROUGE-L) of the frozen model with the whole prompt before each query",
    "student": "score of what learned from the teacher, and reads the query without the prompt",
    "no_prompt": "score of the frozen model with the query alone",
    "kl": "how far the student's predictions are from its teacher's, in nats a token: 0 is equal",
    "kl_no_prompt": "the same of the frozen model with the query alone",
    "saved_tokens": "prompt tokens that a query needs no more",
    "seconds": "seconds that a lesson took, with its measurement",
    "ids": "numbers by which the model reads and writes the memory token",
    "description": "what the procedure does, as its author says",
    "cosine": "how alike two addresses are: 1 is the same direction, 0 unrelated",
    "similarity": "the part of their words that two descriptions share",
    "norm": "length of the row; rows of equal length compete on equal terms",
    "near": "procedures whose rows point most nearly the same way",
    "both": "how alike a procedure's two rows are: the one that routes and the one that steers",
    "state": "whether the backbone is on this machine already",
    "megabytes": "disk space of its copy in the cache",
}


def meaning(key: str) -> str | None:
    """What a column means; the number of calls in its key (`tool_f1 2`) does not matter. None if unknown."""
    return MEANINGS.get(key) or MEANINGS.get(key.partition(" ")[0])
