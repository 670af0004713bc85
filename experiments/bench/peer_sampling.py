"""The peer of our sampler: transformers' `generate` on torch, as fast as its interface allows.

The keys and values of the few-shot prompt are computed once and stand before every batch; questions
are sorted by length and padded on the left; a batch ends with its last row. It needs transformers
5.24, whose caches can be cut back to the prefix, and torch.
"""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import transformers
from transformers.generation import stopping_criteria

from experiments.bench.workload import Questions


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the peer is run.

    Attributes:
        cache: "dynamic" appends to keys and values at each token, "static" writes into room that
            is there, "none" computes the few-shot prompt again for each batch.
        batch: questions at a time.
        dtype: of weights and computation, "float32" or "bfloat16".
    """

    cache: Literal["dynamic", "static", "none"] = "static"
    batch: int = 32
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.cache} cache, batch {self.batch}, {self.dtype}"


SETTINGS = tuple(
    Setting(cache, batch, dtype)
    for dtype in ("float32", "bfloat16")
    for cache in ("dynamic", "static")
    for batch in (32, 64)
)


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What was written, in the order of the questions.

    Attributes:
        rows: new ids of each question; what ended it is included.
        texts: the same as text.
        seconds: from text to text: tokenization, prefill, and once the few-shot prompt.
    """

    rows: list[list[int]]
    texts: list[str]
    seconds: float

    @property
    def tokens(self) -> int:
        """All that were written; those of rows that had ended are not counted."""
        return sum(map(len, self.rows))


class Peer:
    """A model that is open, for questions of one kind.

    Attributes:
        rows: what was written last: new ids of each question.
    """

    def __init__(self, folder: pathlib.Path, setting: Setting) -> None:
        """Opens the model in `folder`, as `workload.export` writes it."""
        transformers.utils.logging.disable_progress_bar()
        self.setting = setting
        self.rows: list[list[int]] = []
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, setting.dtype)
        ).eval()
        # Nothing of the model's own: what ends a row is the questions' to say.
        self.model.generation_config = transformers.GenerationConfig(pad_token_id=0)

    @torch.inference_mode()
    def run(self, questions: Questions) -> Sampled:
        """Answers all questions, greedily."""
        begun = time.perf_counter()
        encoded = questions.encode()
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        longest = len(encoded[order[-1]])
        prefix = _Prefix(self.model, questions.prefix, self.setting, longest + questions.budget)
        rows: list[list[int]] = [[]] * len(encoded)
        for first in range(0, len(order), self.setting.batch):
            chosen = order[first : first + self.setting.batch]
            written = self._generate(questions, [encoded[i] for i in chosen], prefix)
            for i, row in zip(chosen, written, strict=True):
                rows[i] = row
        self.rows = rows
        texts = [questions.tokenizer.decode(row) for row in rows]
        return Sampled(rows, texts, time.perf_counter() - begun)

    @torch.inference_mode()
    def margin(
        self, questions: Questions, number: int, one: Sequence[int], other: Sequence[int]
    ) -> float:
        """How far the logits of two continuations are apart where these part; inf if nowhere."""
        pairs = enumerate(zip(one, other, strict=False))
        parting = next((at for at, (a, b) in pairs if a != b), None)
        if parting is None:
            return float("inf")
        asked = questions.row(questions.problems[number])
        tokens = torch.tensor([[*questions.prefix, *asked, *one[:parting]]])
        logits = self.model(tokens, logits_to_keep=1).logits[0, -1]
        return float(abs(logits[one[parting]] - logits[other[parting]]))

    def _generate(
        self, questions: Questions, rows: Sequence[Sequence[int]], prefix: "_Prefix"
    ) -> list[list[int]]:
        """What one batch writes.

        `generate` is given the whole prompts: it counts positions over the mask, so padding between
        prefix and question takes none, and runs what the cache does not hold yet.
        """
        shown, longest = len(questions.prefix), max(map(len, rows))
        tokens = np.zeros((len(rows), shown + longest), np.int64)
        mask = np.zeros_like(tokens)
        tokens[:, :shown], mask[:, :shown] = questions.prefix, 1
        for row, place in zip(rows, range(len(rows)), strict=True):
            tokens[place, -len(row) :], mask[place, -len(row) :] = row, 1
        stop = _Stop(questions, len(rows))
        found = self.model.generate(
            torch.from_numpy(tokens),
            attention_mask=torch.from_numpy(mask),
            cache=prefix.cache(len(rows)),
            stopping_criteria=transformers.StoppingCriteriaList([stop]),
            max_new_tokens=questions.budget,
            do_sample=False,
        )
        new = found[:, tokens.shape[1] :].tolist()
        return [row[:length] for row, length in zip(new, stop.lengths, strict=True)]


class _Prefix:
    """Keys and values of the few-shot prompt, in caches for batches of different sizes."""

    def __init__(self, model: Any, tokens: Sequence[int], setting: Setting, room: int) -> None:
        """Computes them; `room` is for what comes after them."""
        self._config, self._kind = model.config, setting.cache
        self._length, self._room = len(tokens), len(tokens) + room
        self._caches: dict[int, transformers.Cache] = {}
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        if setting.cache != "none":
            cache: Any = transformers.DynamicCache(config=model.config)
            model(torch.tensor([list(tokens)]), cache=cache, logits_to_keep=1)
            self._layers = [(layer.keys, layer.values) for layer in cache.layers]

    def cache(self, rows: int) -> transformers.Cache | None:
        """A cache that holds the prefix for every row and nothing else; None for none.

        One of a size that was there before is the same cache, cut back.
        """
        if self._kind == "none":
            return None
        if rows not in self._caches:
            self._caches[rows] = self._make(rows)
        cache = self._caches[rows]
        if surplus := int(cache.get_seq_length()) - self._length:
            cache.crop(-surplus)
        return cache

    def _make(self, rows: int) -> transformers.Cache:
        cache: transformers.Cache = transformers.DynamicCache(config=self._config)
        if self._kind == "static":
            cache = transformers.StaticCache(self._config, max_cache_len=self._room)
        for place, (keys, values) in enumerate(self._layers):
            each = (rows, -1, -1, -1)
            cache.update(keys.expand(each), values.expand(each), place)
        return cache


class _Stop(stopping_criteria.StoppingCriteria):
    """Says which rows have ended, and counts their tokens."""

    def __init__(self, questions: Questions, rows: int) -> None:
        self._bytes = questions.tokenizer.token_bytes()
        self._stop, self._ends = questions.stop.encode(), questions.ends
        self._tails = [b""] * rows  # of what each has written, as long as may begin the stop text
        self._done = [False] * rows
        self.lengths = [0] * rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        """[rows] bool, after the last column of `input_ids`."""
        del scores, kwargs
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self._done[row]:
                continue
            self.lengths[row] += 1
            self._done[row] = token in self._ends
            if self._stop:
                text = self._tails[row] + self._bytes[token]
                self._done[row] |= self._stop in text
                self._tails[row] = text[max(0, len(text) - len(self._stop) + 1) :]
        return torch.tensor(self._done)
