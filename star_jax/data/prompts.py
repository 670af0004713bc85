"""Writes prompts and training examples as token ids: problem, hint and few-shot prompt.

Text prompts: a document is bos + prompt + completion + eos. Few-shot examples stand at the head of
a document, divided by `Prompter.separator`; without a separator they are whole documents.
Chat prompts: a question is a user's message in the tokenizer's own format, and the completion is
the assistant's reply. In both cases the whole text is tokenized, and its ids are cut where any
question may follow: these ids are the few-shot prompt.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from star_jax.data import packing
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import HuggingFaceTokenizer, Tokenizer
from star_jax.tasks.task import Problem, Task

_NEXT = ("1", "a b")  # two texts that may follow; ids common to both do not depend on the next text


@dataclass(frozen=True)
class Prompter:
    """Writes prompts for one task, tokenizer and set of few-shot examples.

    Attributes:
        tokenizer: tokenizer of the model.
        task: task that writes the text of prompts and completions.
        examples: few-shot examples from `Task.few_shot`.
        direct: whether few-shot and training examples answer without a rationale.
        chat: whether prompts are conversations.
        own_class: whether a question stands behind the examples of its class alone. A class without
            any has as many of all classes before it.
    """

    tokenizer: Tokenizer
    task: Task
    examples: Sequence[Problem] = ()
    direct: bool = False
    chat: bool = False
    own_class: bool = False

    def for_class(self, group: str) -> "Prompter":
        """Returns the prompter of a class of problems: this one, or with `own_class` its own."""
        if not self.own_class:
            return self
        return self._by_class.get(group, self._by_class[""])

    def prompt_ids(self, problem: Problem, hint: bool, with_few_shot: bool = False) -> list[int]:
        """Returns the token ids that the model continues for `problem`.

        Args:
            problem: problem with the question.
            hint: whether the prompt gives the answer away.
            with_few_shot: whether these ids follow `few_shot` of the problem's class, which they do
                not include.

        Raises:
            ValueError: with `chat`, the question changes the tokens of the few-shot prompt.
        """
        if self.own_class:
            return self.for_class(problem.group).prompt_ids(problem, hint, with_few_shot)
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
        """Returns the number of tokens of the prompt with its hint, without the few-shot prompt.

        It is the longer of the prompt alone and the prompt after the few-shot prompt. The result is
        cached.
        """
        if problem not in self._lengths:
            rows = (
                self.prompt_ids(problem, hint=True, with_few_shot=x) for x in {False, self._joined}
            )
            self._lengths[problem] = max(map(len, rows))
        return self._lengths[problem]

    @functools.cached_property
    def end(self) -> int:
        """The id that ends a training example: eos, or the end of a reply in the chat template."""
        if not self.chat:
            return self.tokenizer.eos_id
        self._chat.chat(
            [_say("user", "1"), _say("assistant", "1")], reply=False
        )  # raises without replies
        return self._chat.reply_end

    @property
    def stop(self) -> str:
        """The text that ends a completion, as `end` does; "" for none."""
        return self._chat.reply_stop if self.chat else self.separator

    @property
    def separator(self) -> str:
        """The text between few-shot examples; "" if each is a document of its own.

        A task without a separator was made for a model that is pretrained on its documents. A
        language model takes up a pattern within a text: there a blank line divides the examples.
        """
        return self.task.separator or (
            "\n\n" if isinstance(self.tokenizer, HuggingFaceTokenizer) else ""
        )

    def check(self, rows: int) -> None:
        """Checks that an embedding with `rows` rows has one for every token that prompts need.

        Special tokens that no prompt needs (images, tools) may have ids beyond the rows.

        Raises:
            ValueError: a prompt, text or end needs a token without a row; the message names it.
        """
        tokens = self.tokenizer
        needed = {*packing.bos(tokens), *self.few_shot(False), *self.few_shot(True)}
        if isinstance(tokens, HuggingFaceTokenizer) and not self.chat:
            needed |= {*tokens.named_ends}  # no text needs the tokens that only end replies
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
        """Returns the token ids of the few-shot prompt of all examples; [] without examples.

        Args:
            hint: whether each example shows its hint too, as prompts for rationalization do.
        """
        return list(self._few_shot[hint])

    def training_examples(
        self, kept: Sequence[Sample], rehearsal: float = 0.0, with_few_shot: bool = False
    ) -> list[packing.Example]:
        """Returns a round's training examples: all kept samples without hint, a share with it too.

        The paper has no such share (it is 0 there). A small model that trains without hints only
        forgets to follow them, and then the next round's rationalization fails.

        Args:
            kept: samples that passed the filter.
            rehearsal: share of `kept` that is trained on with the hint as well, 0..1; these samples
                are evenly spread.
            with_few_shot: whether the examples without hint stand after the few-shot prompt.
        """
        again = rehearsed_indices(len(kept), rehearsal)
        return [self.training_example(sample, with_few_shot=with_few_shot) for sample in kept] + [
            self.training_example(kept[index], hint=True) for index in again
        ]

    def training_example(
        self, sample: Sample, hint: bool = False, with_few_shot: bool = False
    ) -> packing.Example:
        """Returns a training example: the sample's rationale and answer after its prompt.

        The prompt is built anew, so it has a hint only with `hint`, even if the sample was
        generated with one.

        Raises:
            ValueError: the sample did not pass the filter.
        """
        if not sample.kept:
            raise ValueError(
                f"sample {sample.id!r} was dropped ({sample.reason}): train on kept ones"
            )
        return self._example(sample.problem, hint, sample.completion, with_few_shot)

    def direct_example(self, problem: Problem, with_few_shot: bool = False) -> packing.Example:
        """Returns a training example of the baseline without rationales: the gold answer alone."""
        return self._example(problem, False, self.task.direct(problem), with_few_shot)

    def completion_ids(self, problem: Problem, hint: bool, completion: str) -> list[int]:
        """Returns the token ids of a completion after the prompt of `problem`, `end` included.

        They are the targets of a training example, after the few-shot prompt or without it.

        Args:
            problem: problem with the question.
            hint: whether the prompt gives the answer away.
            completion: text that follows the prompt.
        """
        return self._completion(self.prompt_ids(problem, hint), problem, hint, completion)

    def _example(
        self, problem: Problem, hint: bool, completion: str, with_few_shot: bool
    ) -> packing.Example:
        row = self.prompt_ids(problem, hint)
        ids = self._completion(row, problem, hint, completion)
        if with_few_shot:
            row = self.prompt_ids(problem, hint, with_few_shot)
        return packing.example(row, ids)

    def _completion(
        self, before: list[int], problem: Problem, hint: bool, completion: str
    ) -> list[int]:
        """Returns the ids of a completion after its prompt, whose ids are `before`, with `end`."""
        if self.chat:
            ids = self._reply(before, problem, hint, completion.strip())
        else:
            prompt = self.task.prompt(problem, hint)
            ids = packing.continued(self.tokenizer, before, prompt, completion)
        return [*ids, self.end]

    def _reply(self, before: list[int], problem: Problem, hint: bool, text: str) -> list[int]:
        """Returns the ids of a reply in a chat after the prompt `before`.

        They are the template's own ids of the reply in a conversation, provided that these follow
        `before` and decode to `text` with at most spaces around it. Otherwise they are the ids
        that continue the prompt, as in sampling.
        """
        turns, tokens = [self._ask(problem, hint)], self.tokenizer
        chat = self._chat.chat([*turns, _say("assistant", text)], reply=False)
        rest = chat[len(before) :] if chat[: len(before)] == before else []
        ends = (i for i, id_ in enumerate(rest) if id_ in tokens.eos_ids)
        ids = rest[: next(ends, 0)]
        if tokens.decode(ids).strip() == text and all(tokens.decode([id_]) for id_ in ids):
            return ids
        chat = self._chat.chat(turns, reply_start=text)
        return chat[len(before) :] if chat[: len(before)] == before else tokens.encode(text)

    def longest_few_shot(self) -> int:
        """Returns the number of tokens of the longest few-shot prompt of any class."""
        prompters = self._by_class.values() if self.own_class else (self,)
        return max(len(one.few_shot(hint)) for one in prompters for hint in (False, True))

    @functools.cached_property
    def _by_class(self) -> dict[str, "Prompter"]:
        """Class -> prompter with its examples; "" -> the prompter of any other class."""
        examples: dict[str, list[Problem]] = {}
        for problem in self.examples:
            examples.setdefault(problem.group, []).append(problem)
        examples[""] = list(self.examples[: max(map(len, examples.values()), default=0)])
        return {
            group: replace(self, examples=tuple(own), own_class=False)
            for group, own in examples.items()
        }

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
        """Hint -> ids and text of the last example, all that a question's ids depend on."""
        texts = {hint: self._text(self.examples[-1:], hint) for hint in (False, True)}
        return {hint: (self._head_ids(text), text) for hint, text in texts.items()}

    def _examples(self, hint: bool) -> list[int]:
        if not self.examples:
            return []
        if self.chat:
            turns = self._turns(hint)
            return _common(*(self._chat.chat([*turns, _say("user", text)]) for text in _NEXT))
        if self.separator:
            return self._head_ids(self._text(self.examples, hint))
        return [
            id_
            for problem in self.examples
            for id_ in self._example(problem, hint, self._worked(problem), False).tokens.tolist()
        ]

    def _text(self, examples: Sequence[Problem], hint: bool) -> str:
        worked = [self.task.prompt(problem, hint) + self._worked(problem) for problem in examples]
        return "".join(text + self.separator for text in worked)

    def _head_ids(self, text: str) -> list[int]:
        """Returns the ids that are common to all texts that begin with `text`."""
        return [
            *packing.bos(self.tokenizer),
            *_common(*(self.tokenizer.encode(text + more) for more in _NEXT)),
        ]

    def _turns(self, hint: bool | None) -> list[dict[str, str]]:
        """Returns the few-shot examples as turns of a conversation; [] if `hint` is None."""
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
        """True if the question continues the few-shot prompt's text, in the same document."""
        return bool(self.examples and self.separator and not self.chat)

    @property
    def _chat(self) -> HuggingFaceTokenizer:
        if not isinstance(self.tokenizer, HuggingFaceTokenizer) or not self.tokenizer.chats:
            raise ValueError("config.model.chat: the tokenizer has no chat template; set it false")
        return self.tokenizer


def rehearsed_indices(count: int, share: float) -> list[int]:
    """Returns the indices of a share of `count` examples, evenly spread, to train on with hints."""
    return [i for i in range(count) if int((i + 1) * share) > int(i * share)]


def _common(one: list[int], other: list[int]) -> list[int]:
    """Returns the longest common prefix."""
    different = (i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y)
    return one[: next(different, min(len(one), len(other)))]


def _say(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
