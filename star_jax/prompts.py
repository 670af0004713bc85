"""Problem (+ hint) + few-shot set -> the token rows that are sampled from and trained on.

A document is bos + prompt + completion + eos. A few-shot prompt is some whole documents, the same
for every row of a batch; a row is the head of one more document, bos + prompt.
"""

from collections.abc import Sequence

from star_jax import packing
from star_jax.rationales import Sample
from star_jax.tasks.task import Problem, Task
from star_jax.tokenizer import ByteTokenizer


def row(tokenizer: ByteTokenizer, task: Task, problem: Problem, hint: bool) -> list[int]:
    """Token ids the model continues for `problem`: bos + prompt, without the few-shot prompt."""
    return [tokenizer.bos_id, *tokenizer.encode(task.prompt(problem, hint))]


def few_shot(
    tokenizer: ByteTokenizer,
    task: Task,
    examples: Sequence[Problem],
    hint: bool,
    direct: bool = False,
) -> list[int]:
    """Token ids of the few-shot prompt, to go before every row; [] without examples.

    Args:
        tokenizer: gives the tokens.
        task: gives the text.
        examples: worked problems, as `Task.few_shot` gives them.
        hint: the twin for rationalization, in which every example shows its hint too.
        direct: the examples answer without a rationale.
    """
    ids: list[int] = []
    for problem in examples:
        ids += row(tokenizer, task, problem, hint)
        ids += tokenizer.encode(_completion(task, problem, direct))
        ids.append(tokenizer.eos_id)
    return ids


def training_examples(
    tokenizer: ByteTokenizer, task: Task, kept: Sequence[Sample], rehearsal: float = 0.0
) -> list[packing.Example]:
    """What a round trains on: every kept sample without the hint, and a share of them with it too.

    The share is not the paper's (there it is 0). A small model that only ever trains without hints
    forgets to follow one, and then the next round's rationalization fails.

    Args:
        tokenizer: gives the tokens.
        task: gives the text.
        kept: what passed the filter.
        rehearsal: share of `kept` that is trained on with its hint as well, 0..1, evenly spread.
    """
    again = [s for i, s in enumerate(kept) if int((i + 1) * rehearsal) > int(i * rehearsal)]
    return [training_example(tokenizer, task, sample) for sample in kept] + [
        training_example(tokenizer, task, sample, hint=True) for sample in again
    ]


def training_example(
    tokenizer: ByteTokenizer, task: Task, sample: Sample, hint: bool = False
) -> packing.Example:
    """What to train on for a kept sample: its rationale and answer after the prompt *without* hint.

    The prompt is built anew, so the hint cannot get in unasked, whatever the sample was generated
    from.

    Raises:
        ValueError: the sample did not pass the filter.
    """
    if not sample.kept:
        raise ValueError(f"sample {sample.id!r} was dropped ({sample.reason}): train on kept ones")
    problem = Problem(sample.id, sample.question, sample.answer, rationale="", group=sample.group)
    return packing.encode(tokenizer, task.prompt(problem, hint), sample.completion)


def direct_example(tokenizer: ByteTokenizer, task: Task, problem: Problem) -> packing.Example:
    """What to train on for `problem` in the baseline without rationales: the gold answer alone."""
    return packing.encode(tokenizer, task.prompt(problem, hint=False), task.direct(problem))


def documents(
    tokenizer: ByteTokenizer, corpus: Sequence[tuple[str, str]], shots: int
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


def _completion(task: Task, problem: Problem, direct: bool) -> str:
    if direct:
        return task.direct(problem)
    return task.completion(problem.rationale, problem.answer)
