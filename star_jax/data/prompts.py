"""Problem (+ hint) + few-shot examples -> the token rows that are sampled from and trained on.

Text prompts: a document is bos + prompt + completion + eos. Few-shot examples are the head of a
document, held apart by the task's separator; a task without one has them as whole documents. Chat
prompts: a question is a user's message in the tokenizer's own format, its completion the reply.
Either way the tokens are those of the whole text, cut where any question may follow.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from star_jax.data import packing
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import HuggingFaceTokenizer, Tokenizer
from star_jax.tasks.task import Problem, Task

_NEXT = ("1", "a b")  # two texts that may follow; what theirs have in common is there before any


@dataclass(frozen=True)
class Prompter:
    """Writes prompts for one task, tokenizer and set of examples.

    Attributes:
        tokenizer: gives the tokens.
        task: gives the text.
        examples: worked problems, as `Task.few_shot` gives them.
        direct: the examples, and what is trained on, answer without a rationale.
        chat: prompts are conversations.
    """

    tokenizer: Tokenizer
    task: Task
    examples: Sequence[Problem] = ()
    direct: bool = False
    chat: bool = False

    def prompt_ids(self, problem: Problem, hint: bool, with_few_shot: bool = False) -> list[int]:
        """Token ids the model continues for `problem`.

        Args:
            problem: the question.
            hint: whether the prompt gives the answer away.
            with_few_shot: whether `few_shot(hint)` comes before them; it is not among them.
        """
        if self.chat:
            turns = [*self._turns(hint if with_few_shot else None), self._ask(problem, hint)]
            ids, before = self._chat.chat(turns), self.few_shot(hint) if with_few_shot else []
            if ids[: len(before)] != before:
                raise ValueError(
                    f"question {problem.id!r} changes how the chat before it is written; set "
                    "config.model.chat=false or config.few_shot.examples=0"
                )
            return ids[len(before) :]
        prompt = self.task.prompt(problem, hint)
        if with_few_shot and self._joined:
            return packing.continued(self.tokenizer, *self._last_example[hint], prompt)
        return [*packing.bos(self.tokenizer), *self.tokenizer.encode(prompt)]

    def length(self, problem: Problem) -> int:
        """Tokens of the prompt with its hint, few-shot examples not counted; kept once known.

        The longer one of a prompt by itself and one after the examples.
        """
        if problem not in self._lengths:
            rows = (
                self.prompt_ids(problem, hint=True, with_few_shot=x) for x in {False, self._joined}
            )
            self._lengths[problem] = max(map(len, rows))
        return self._lengths[problem]

    @functools.cached_property
    def end(self) -> int:
        """The id that what is trained on ends with: of a chat's reply, the one in its template."""
        if not self.chat:
            return self.tokenizer.eos_id
        self._chat.chat([_say("user", "1"), _say("assistant", "1")], reply=False)  # are there any?
        return self._chat.reply_end

    @property
    def stop(self) -> str:
        """Text that ends a completion, as `end` does; "" for none."""
        return self._chat.reply_stop if self.chat else self.task.separator

    def check(self, rows: int) -> None:
        """Sees to it that a model with so many rows of its vocabulary has one for every token.

        Special tokens for what is never asked (images, tools) may lie beyond them.

        Raises:
            ValueError: a prompt or an end takes one that has none; the message names it.
        """
        tokens = self.tokenizer
        needed = {*packing.bos(tokens), *self.few_shot(False), *self.few_shot(True)}
        if isinstance(tokens, HuggingFaceTokenizer) and not self.chat:
            needed |= {*tokens.named_ends}  # what ends replies alone, no text needs
        else:
            needed |= {*tokens.eos_ids}
        if self.chat:
            needed |= {*self._chat.chat([_say("user", "1")])}
        needed |= {id_ for id_, piece in enumerate(tokens.token_bytes()[rows:], rows) if piece}
        if beyond := sorted(id_ for id_ in needed if id_ >= rows):
            raise ValueError(
                f"the tokenizer's {tokens.name(beyond[0])!r} is token {beyond[0]}, and the model "
                f"has {rows} rows, for tokens 0 to {rows - 1}, but {len(beyond)} that prompts or "
                "ends need lie beyond: one of the two is of another model, or tokens were added "
                "and the embedding was not resized (resize_token_embeddings) and trained"
            )

    def few_shot(self, hint: bool) -> list[int]:
        """Token ids of the examples, to go before every row; [] without any.

        Args:
            hint: the twin for rationalization, in which every example shows its hint too.
        """
        return list(self._few_shot[hint])

    def training_examples(
        self, kept: Sequence[Sample], rehearsal: float = 0.0, with_few_shot: bool = False
    ) -> list[packing.Example]:
        """What a round trains on: every kept sample without hint, and a share of them with it too.

        The share is not the paper's (there it is 0). A small model that only ever trains without
        hints forgets to follow one, and then the next round's rationalization fails.

        Args:
            kept: what passed the filter.
            rehearsal: share of `kept` that is trained on with its hint as well, 0..1, evenly
                spread.
            with_few_shot: whether they are trained on after the few-shot prompt.
        """
        again = rehearsed_indices(len(kept), rehearsal)
        return [self.training_example(sample, with_few_shot=with_few_shot) for sample in kept] + [
            self.training_example(kept[place], hint=True) for place in again
        ]

    def training_example(
        self, sample: Sample, hint: bool = False, with_few_shot: bool = False
    ) -> packing.Example:
        """A kept sample to train on: its rationale and answer after the prompt *without* hint.

        The prompt is built anew, so the hint cannot get in unasked, whatever the sample was
        generated from.

        Raises:
            ValueError: the sample did not pass the filter.
        """
        if not sample.kept:
            raise ValueError(
                f"sample {sample.id!r} was dropped ({sample.reason}): train on kept ones"
            )
        return self._example(sample.problem, hint, sample.completion, with_few_shot)

    def direct_example(self, problem: Problem, with_few_shot: bool = False) -> packing.Example:
        """What to train on in the baseline without rationales: the gold answer alone."""
        return self._example(problem, False, self.task.direct(problem), with_few_shot)

    def _example(
        self, problem: Problem, hint: bool, completion: str, shown: bool
    ) -> packing.Example:
        row = self.prompt_ids(problem, hint)
        if self.chat:
            ids = self._reply(row, problem, hint, completion.strip())
        else:
            prompt = self.task.prompt(problem, hint)
            ids = packing.continued(self.tokenizer, row, prompt, completion)
        return packing.example(
            self.prompt_ids(problem, hint, shown) if shown else row, [*ids, self.end]
        )

    def _reply(self, before: list[int], problem: Problem, hint: bool, text: str) -> list[int]:
        """Ids of an answer in a chat after the prompt `before`.

        They are as the template writes it in a conversation, if it leaves the words alone, has
        them after that very prompt and adds but spaces; or else those that go on from the prompt,
        as sampling does.
        """
        turns, tokens = [self._ask(problem, hint)], self.tokenizer
        said = self._chat.chat([*turns, _say("assistant", text)], reply=False)
        rest = said[len(before) :] if said[: len(before)] == before else []
        ends = (i for i, id_ in enumerate(rest) if id_ in tokens.eos_ids)
        ids = rest[: next(ends, 0)]
        if tokens.decode(ids).strip() == text and all(tokens.decode([id_]) for id_ in ids):
            return ids
        said = self._chat.chat(turns, begun=text)
        return said[len(before) :] if said[: len(before)] == before else tokens.encode(text)

    def _worked(self, problem: Problem) -> str:
        if self.direct:
            return self.task.direct(problem)
        return self.task.completion(problem.rationale, problem.answer)

    @functools.cached_property
    def _lengths(self) -> dict[Problem, int]:
        return {}

    @functools.cached_property
    def _few_shot(self) -> dict[bool, list[int]]:
        return {hint: self._examples(hint) for hint in (False, True)}

    @functools.cached_property
    def _last_example(self) -> dict[bool, tuple[list[int], str]]:
        """Ids and text of the last example: as much of the prompt as a question's ids depend on."""
        texts = {hint: self._text(self.examples[-1:], hint) for hint in (False, True)}
        return {hint: (self._begun(text), text) for hint, text in texts.items()}

    def _examples(self, hint: bool) -> list[int]:
        if not self.examples:
            return []
        if self.chat:
            turns = self._turns(hint)
            return _common(*(self._chat.chat([*turns, _say("user", text)]) for text in _NEXT))
        if self.task.separator:
            return self._begun(self._text(self.examples, hint))
        return [
            id_
            for problem in self.examples
            for id_ in self._example(problem, hint, self._worked(problem), False).tokens.tolist()
        ]

    def _text(self, examples: Sequence[Problem], hint: bool) -> str:
        worked = [self.task.prompt(problem, hint) + self._worked(problem) for problem in examples]
        return "".join(text + self.task.separator for text in worked)

    def _begun(self, text: str) -> list[int]:
        """Ids that every text has at its head that goes on from this one."""
        return [
            *packing.bos(self.tokenizer),
            *_common(*(self.tokenizer.encode(text + more) for more in _NEXT)),
        ]

    def _turns(self, hint: bool | None) -> list[dict[str, str]]:
        """The examples as turns of a conversation; none for None."""
        return [
            turn
            for problem in (self.examples if hint is not None else ())
            for turn in (
                self._ask(problem, bool(hint)),
                _say("assistant", self._worked(problem).strip()),
            )
        ]

    def _ask(self, problem: Problem, hint: bool) -> dict[str, str]:
        return _say("user", self.task.message(problem, hint))

    @property
    def _joined(self) -> bool:
        """Whether a question is part of the few-shot prompt's text."""
        return bool(self.examples and self.task.separator and not self.chat)

    @property
    def _chat(self) -> HuggingFaceTokenizer:
        if not isinstance(self.tokenizer, HuggingFaceTokenizer) or not self.tokenizer.chats:
            raise ValueError("config.model.chat: the tokenizer has no chat template; set it false")
        return self.tokenizer


def rehearsed_indices(count: int, share: float) -> list[int]:
    """Which of `count` examples are trained on with their hint as well: a share, evenly spread."""
    return [i for i in range(count) if int((i + 1) * share) > int(i * share)]


def documents(
    tokenizer: Tokenizer, corpus: Sequence[tuple[str, str]], shots: int
) -> list[packing.Example]:
    """Pretraining documents: (prompt, completion) pairs, 1 to `shots` in a row in each.

    Sizes take turns (1, 2, ..., `shots`, 1, ...), so the model meets a question after none and
    after some worked ones.
    """
    examples = [packing.encode(tokenizer, *pair) for pair in corpus]
    found: list[packing.Example] = []
    first = 0
    while first < len(examples):
        size = 1 + len(found) % shots
        found.append(packing.join(examples[first : first + size]))
        first += size
    return found


def _common(one: list[int], other: list[int]) -> list[int]:
    """What both begin with."""
    parting = (i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y)
    return one[: next(parting, min(len(one), len(other)))]


def _say(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
