"""Applies chat templates; nothing else in the package does.

Template text and user text are encoded as separate segments. So nothing that a user types becomes a control
token, and nothing that the template does to its contents (it may strip them) changes a response.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from tokmem.errors import BackboneError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Llama's own fallback date. Without a date its template prints the present day.
DATE = "26 Jul 2024"
PINNED: dict[str, Any] = {"date_string": DATE, "enable_thinking": False}

# Some templates (SmolLM3, Granite) ask the clock whatever they are given. A macro outranks the library's
# global; the empty expression keeps a first newline, which would be dropped straight after a block tag.
STOPPED_CLOCK = "{% macro strftime_now(format) %}" + DATE + "{% endmacro %}{{ '' }}"

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'user' %}{{ '\\n' }}"
    "{% elif message['role'] == 'assistant' and loop.last %}{{ eos_token }}"
    "{% else %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)


class Chat:
    """Renders and encodes the chat format of one tokenizer.

    A tokenizer without a chat template gets a plain one: BOS if it has one, query, newline, response, EOS.

    Args:
        tokenizer: the backbone's tokenizer.
        system_prompt: text before the conversation; None keeps the template's own default.
        plain: use the plain template even if the tokenizer has its own.

    Attributes:
        tokenizer: the given tokenizer.
        template: the chat template that is rendered.
        tail: ids that the template puts after an assistant turn, up to and including the stop token.
        stop: id of the token that ends an assistant turn.

    Raises:
        BackboneError: the template cannot be rendered, drops, repeats or reorders a text, or ends its turns
            without a stop token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        system_prompt: str | None = None,
        *,
        plain: bool = False,
    ) -> None:
        self.system_prompt = system_prompt
        self.tokenizer = tokenizer
        own = tokenizer.chat_template and not plain
        self.template = tokenizer.get_chat_template() if own else PLAIN_TEMPLATE
        self._anchor = _dummy_prefix_anchor(tokenizer)
        self._controls = _unmarked_controls(tokenizer)
        self._pieces: dict[int, list[list[int]]] = {}
        self._prompt_pieces(0)
        self.tail = self._read_tail()
        self.stop = self.tail[-1]

    def prompt_ids(
        self, user: Sequence[int], demonstrations: Sequence[tuple[Sequence[int], Sequence[int]]] = ()
    ) -> list[int]:
        """Returns the ids up to and including the generation prompt; the memory token follows them.

        Args:
            user: ids of the user's text, from :meth:`text_ids`.
            demonstrations: ids of earlier (user text, response) pairs.
        """
        texts = [*(text for pair in demonstrations for text in pair), user]
        first, *rest = self._prompt_pieces(len(demonstrations))
        ids = list(first)
        for text, piece in zip(texts, rest, strict=True):
            ids += text
            ids += piece
        return ids

    def open_ids(
        self, user: Sequence[int], demonstrations: Sequence[tuple[Sequence[int], Sequence[int]]] = ()
    ) -> list[int]:
        """Returns the ids up to the end of the user's text, whose turn is still open: a model may go on."""
        whole = self.prompt_ids(user, demonstrations)
        return whole[: len(whole) - len(self._prompt_pieces(len(demonstrations))[-1])]

    @cached_property
    def generation_prompt(self) -> str:
        """What the template puts between a user's text and the response."""
        return self._split(1)[-1]

    @property
    def bos(self) -> int | None:
        """Id of the token that begins a text; None if the tokenizer has none."""
        bos = self.tokenizer.bos_token_id
        return bos if isinstance(bos, int) else None

    def text_ids(self, text: str) -> list[int]:
        """Encodes a user's text or a response; a typed control token becomes ordinary tokens.

        Raises:
            DataError: the text holds a lone surrogate, which stands for a byte that is not UTF-8.
        """
        _require_unicode(text)
        ids = self._encode(text, control=False)
        if self._controls is None or self._controls.search(text) is None:
            return ids
        cuts = [0, *(match.start() + 1 for match in self._controls.finditer(text)), len(text)]
        parts = [text[start:end] for start, end in pairwise(cuts)]
        return [token for part in parts for token in self._encode(part, control=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Decodes ``ids`` exactly, without special tokens."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if not isinstance(text, str):
            raise DataError(
                f"a batch of {len(text)} sequences", "the ids of one sequence", "decode one at a time"
            )
        return text

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of all that decides how a text is encoded: template, pinned values and vocabulary."""
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items()))
        parts = {
            "template": self.template,
            "pinned": PINNED,
            "system_prompt": self.system_prompt,
            "prompt": self._prompt_pieces(0),
            "tail": self.tail,
            "vocabulary": hashlib.sha256(vocabulary.encode()).hexdigest(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _prompt_pieces(self, demonstrations: int) -> list[list[int]]:
        """Returns the ids of the template around the texts of a prompt with ``count`` demonstrations.

        The template is rendered once for each count, because it may treat earlier turns unlike the last one.
        """
        if demonstrations not in self._pieces:
            pieces = self._split(2 * demonstrations + 1)
            self._pieces[demonstrations] = [self._encode_piece(pieces[0], anchor="")] + [
                self._encode_piece(piece, self._anchor) for piece in pieces[1:]
            ]
        return self._pieces[demonstrations]

    def _read_tail(self) -> tuple[int, ...]:
        """Reads what follows a response: up to EOS, else up to the first special token, else adds EOS."""
        ids = self._encode_piece(self._split(2)[-1], self._anchor)
        eos = self.tokenizer.eos_token_id
        if eos in ids:
            return tuple(ids[: ids.index(eos) + 1])
        # Not all_special_ids: a token may be special without a role (Llama's <|eot_id|> beside another EOS).
        added = self.tokenizer.added_tokens_decoder
        stops = [position for position, token in enumerate(ids) if token in added and added[token].special]
        if stops:
            return tuple(ids[: stops[0] + 1])
        if not isinstance(eos, int):
            raise BackboneError(
                f"no token ends an assistant turn: the template puts {self.decode(ids)!r} after it, "
                "and the tokenizer has no eos_token",
                "a stop token",
                "set tokenizer.eos_token",
            )
        return (*ids, eos)

    def _split(self, count: int) -> list[str]:
        """Returns the template's text before, between and after ``count`` texts (user, assistant, ...)."""
        # A plain word survives a template that strips or trims its contents.
        marks = [f"@@TOKMEM-TEXT-{index}@@" for index in range(count)]
        rendered = self._render(marks)
        if [rendered.count(mark) for mark in marks] != [1] * count:
            raise BackboneError(
                f"the chat template drops or repeats a text: {rendered!r}",
                "each user text and response exactly once",
                "use another chat template, or set tokenizer.chat_template = None for a plain one",
            )
        pieces = re.split("|".join(map(re.escape, marks)), rendered)
        if sorted(marks, key=rendered.index) != marks:
            raise BackboneError(
                f"the chat template reorders texts: {rendered!r}", "the order of the conversation"
            )
        return pieces

    def _render(self, texts: Sequence[str]) -> str:
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
        if self.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages,
                chat_template=STOPPED_CLOCK + self.template,
                tokenize=False,
                add_generation_prompt=len(texts) % 2 == 1,
                **PINNED,
            )
        except TemplateError as error:
            raise BackboneError(
                f"the chat template refuses the conversation: {error}",
                "a template for user and assistant turns"
                + (" with a system prompt" if self.system_prompt else ""),
                "leave the system prompt out, or use another chat template",
            ) from error
        if self.system_prompt and self.system_prompt.strip() not in str(rendered):
            raise BackboneError(
                "the chat template drops the system prompt",
                "a template that shows it",
                "put it into the instruction",
            )
        return str(rendered)

    def _encode_piece(self, piece: str, anchor: str) -> list[int]:
        lead = self._encode(anchor, control=True) if anchor else []
        return self._encode(anchor + piece, control=True)[len(lead) :]

    def _encode(self, text: str, *, control: bool) -> list[int]:
        # Not verbose: the tokenizer would warn of texts that are cut, or memorised in pieces, before use.
        ids = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=not control, verbose=False
        )
        return [int(token) for token in ids]


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"text {text!r:.60}: {text[error.start]!r} at {error.start} is not a character",
            "text in UTF-8",
            "mend it where it comes from",
        ) from error


def _dummy_prefix_anchor(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a newline if the tokenizer puts a space before every input (SentencePiece), else nothing.

    A piece from the middle of the template gets no such space when it is encoded after the newline. User
    texts keep theirs: the reference encoders of these models keep it too, and decoding removes it again.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    newline, both = encode("\n"), encode("\na")
    prefixed = both[: len(newline)] == newline and both[len(newline) :] != encode("a")
    return "\n" if prefixed else ""


def _unmarked_controls(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Matches added tokens that look like control tokens but are not marked special (Gemma's ``<unused0>``).

    ``split_special_tokens`` leaves these whole, because it takes them for added words and blanks.
    """
    names = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    controls = [name for name in names if len(name) > 2 and (name[0] + name[-1]) in ("<>", "[]")]
    return re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True)))) if controls else None
