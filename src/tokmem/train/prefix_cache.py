"""A cache of prefixes, in memory and, if wanted, on disk; each has a budget.

The cache keeps groups: the prefixes of a window, and the stems of a pack. A group is always read as a whole.
Its batches depend only on its token ids and its stems, so a group that is read again is equal bit for bit to
the one that was dropped.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tokmem.log import logger
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import BATCH_TOKENS, Prefix, read_prefixes, suitable_tokens
from tokmem.model.prefix_tree import Ids, Place, StemPlan, plan_stems
from tokmem.records import Encoded
from tokmem.train.prefix_files import PrefixFiles


def stem_tokens(lm: MemoryLM) -> int:
    """The number of tokens in a pack of stems; 0 reads each stem alone.

    A CPU reads a stem alone as fast as in a pack, and a small budget then never reads a stem in vain.
    """
    return 0 if lm.device.type == "cpu" else BATCH_TOKENS


@dataclass
class Usage:
    """The use of a cache so far.

    Attributes:
        hits, misses: windows that were found in memory or on disk, and windows that were read.
        disk_hits: windows among `hits` that were found on disk.
        read_tokens: tokens that ran through the backbone, including those of stems.
        peak_bytes: most bytes of keys, values and states in memory at once.
    """

    hits: int = 0
    misses: int = 0
    disk_hits: int = 0
    read_tokens: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True)
class _Group:
    """Prefixes that are read, kept and dropped together."""

    prefixes: Sequence[Prefix]

    @cached_property
    def nbytes(self) -> int:
        return sum(p.nbytes for p in self.prefixes)


class PrefixCache:
    """Keeps prefixes by window, and the stems that they share; drops the least recently used over a budget.

    Stems are dropped last, because many windows need them.

    Args:
        lm: the model that reads the prefixes.
        budget: most bytes in memory; the current window and its stems are kept in any case.
        share: read beginnings that prompts share once, if `lm` can be packed.
        files: the prefixes on disk; None keeps nothing there.

    Attributes:
        usage: the use of the cache so far.
        plan: the stems.
    """

    def __init__(
        self, lm: MemoryLM, budget: int, *, share: bool = True, files: PrefixFiles | None = None
    ) -> None:
        self.lm, self.budget, self.share, self.files = lm, budget, share, files
        self.usage = Usage()
        self.plan = StemPlan()
        self._windows: OrderedDict[Hashable, _Group] = OrderedDict()
        self._stems: OrderedDict[int, _Group] = OrderedDict()
        self._digests: dict[int, str] = {}
        self._passing: set[Hashable] = set()
        self._warned = budget == 0  # a budget of 0 asks for it

    def begin(self, examples: Iterable[Encoded]) -> None:
        """Plans the stems of the examples whose windows will be requested, and drops all prefixes."""
        longest = self.lm.longest_packed if self.share else 0
        prompts = {e.ids[: e.prefix] for e in examples if e.prefix <= longest}
        self.plan = plan_stems(prompts, stem_tokens(self.lm))
        for kept in (self._windows, self._stems, self._digests, self._passing):
            kept.clear()

    def window(self, key: Hashable, examples: Sequence[Encoded], *, keep: bool = True) -> list[Prefix]:
        """The prefixes of a window's examples, in the order of the examples.

        Args:
            key: identifies the window; equal keys mean equal examples.
            examples: the examples of the window.
            keep: whether the window will be requested again after another window.
        """
        prompts = [e.ids[: e.prefix] for e in examples]
        distinct = list(dict.fromkeys(prompts))
        if key in self._windows:
            self.usage.hits += 1
            self._windows.move_to_end(key)
        else:
            self._windows[key] = _Group(self._read_window(distinct))
            self._trim(key)
            if not keep:
                self._passing.add(key)
        found = dict(zip(distinct, self._windows[key].prefixes, strict=True))
        return [found[ids] for ids in prompts]

    def _read_window(self, prompts: Sequence[Ids]) -> list[Prefix]:
        places = [self.plan.places.get(ids) for ids in prompts]
        stems = [self._stem(place) for place in places]
        rests = [ids[s.length if s else 0 :] for ids, s in zip(prompts, stems, strict=True)]
        digest = self._digest(rests, places) if self.files else ""
        group = self._from_disk(digest, stems)
        if group is None:
            self.usage.misses += 1
            return self._read(digest, rests, stems)
        self.usage.hits += 1
        self.usage.disk_hits += 1
        return group

    def _stem(self, place: Place | None) -> Prefix | None:
        if place is None:
            return None
        if place.pack in self._stems:
            self._stems.move_to_end(place.pack)
        else:
            self._stems[place.pack] = _Group(self._read_stems(place.pack))
        return self._stems[place.pack].prefixes[place.index]

    def _read_stems(self, pack: int) -> list[Prefix]:
        planned = self.plan.packs[pack]
        parents = [self._stem(stem.parent) for stem in planned]
        ids = [stem.ids for stem in planned]
        digest = self._stems_digest(pack) if self.files else ""
        group = self._from_disk(digest, parents)
        return self._read(digest, ids, parents) if group is None else group

    def _from_disk(self, digest: str, stems: Sequence[Prefix | None]) -> list[Prefix] | None:
        return None if self.files is None else self.files.load(digest, stems, self.lm.device)

    def _read(self, digest: str, ids: Sequence[Ids], stems: Sequence[Prefix | None]) -> list[Prefix]:
        group = read_prefixes(self.lm, ids, stems=stems)
        self.usage.read_tokens += sum(map(len, ids))
        if self.files is not None:
            self.files.save(digest, group)
        return group

    def _digest(self, ids: Sequence[Ids], stems: Sequence[Place | None]) -> str:
        """A digest of everything, beside the backbone, that decides the bits of a group."""
        above = [s and (self._stems_digest(s.pack), s.index) for s in stems]
        how = suitable_tokens(self.lm), self.lm.longest_packed  # how many prefixes are read together, and how
        return hashlib.sha256(repr((how, above, ids)).encode()).hexdigest()

    def _stems_digest(self, pack: int) -> str:
        if pack not in self._digests:
            planned = self.plan.packs[pack]
            self._digests[pack] = self._digest([s.ids for s in planned], [s.parent for s in planned])
        return self._digests[pack]

    def _trim(self, key: Hashable) -> None:
        """Drops windows that will not return and, over the budget, the least recently used; never `key`."""
        self.usage.peak_bytes = max(self.usage.peak_bytes, self.held)
        for old in self._passing:
            self._windows.pop(old, None)
        self._passing.clear()
        while len(self._windows) > 1 and self.held > self.budget:
            self._windows.popitem(last=False)
        if self._stems and self.held > self.budget:
            self._warn()
        while self._stems and self.held > self.budget:
            self._stems.popitem(last=False)

    def _warn(self) -> None:
        if not self._warned:
            logger.warning(
                "the shared beginnings of prompts exceed %d MB and are read again and again: raise %s",
                self.budget >> 20,
                "prefix_cache_mb",
            )
        self._warned = True

    @property
    def held(self) -> int:
        """The number of bytes in memory."""
        return sum(group.nbytes for kept in (self._windows, self._stems) for group in kept.values())
