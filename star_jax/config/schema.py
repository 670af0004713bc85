"""Every setting of a run: its default, its meaning and its allowed values."""

import dataclasses
from typing import Any, Literal

MADE_UP = ("arithmetic", "last_letters", "coin_flip")  # tasks that make their questions up
TASKS = (*MADE_UP, "gsm8k", "commonsense_qa", "math_qa", "ai2_arc", "openbookqa", "jsonl")


@dataclasses.dataclass(frozen=True)
class Allowed:
    """The values that a setting may take.

    Attributes:
        kind: type of the value: bool, int, float or str.
        interval: numbers only: range as in "(0, 1]"; inf has no bound on that side.
        also: one more number that is allowed outside the interval; None for none.
        choices: strings only: allowed strings; empty for any string.
    """

    kind: type
    interval: str = ""
    also: float | None = None
    choices: tuple[str, ...] = ()

    def admits(self, value: object) -> bool:
        """Returns whether `value` has the right type (an int counts as a float) and is in range."""
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if isinstance(value, str):
            return self.kind is str and (not self.choices or value in self.choices)
        if not isinstance(value, int if self.kind is int else (int, float)) or self.kind is str:
            return False
        low, high = (float(bound) for bound in self.interval[1:-1].split(","))
        above = low <= value if self.interval[0] == "[" else low < value
        below = value <= high if self.interval[-1] == "]" else value < high
        return (above and below) or value == self.also

    def read(self, text: str) -> object:
        """Returns the value that `text` spells, or `text` itself if it spells none of this type."""
        if self.kind is bool:
            words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
            return words.get(text.lower(), text)
        try:
            return self.kind(text)
        except ValueError:
            return text

    def __str__(self) -> str:
        """Returns a noun phrase for messages, as in 'a whole number in [1, 20]'."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return " or ".join(repr(choice) for choice in self.choices)
        if self.kind is str:
            return "a string"
        noun = "a whole number" if self.kind is int else "a number"
        return f"{noun} in {self.interval}" + (f", or {self.also}" if self.also is not None else "")


def _number(default: float, interval: str, meaning: str, also: float | None = None) -> Any:
    return _field(default, Allowed(type(default), interval, also), meaning)


def _choice(default: str, choices: tuple[str, ...], meaning: str) -> Any:
    return _field(default, Allowed(str, choices=choices), meaning)


def _text(default: str, meaning: str) -> Any:
    return _field(default, Allowed(str), meaning)


def _switch(default: bool, meaning: str) -> Any:
    return _field(default, Allowed(bool), meaning)


def _field(default: object, allowed: Allowed, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"allowed": allowed, "help": meaning})


@dataclasses.dataclass(frozen=True)
class Task:
    """The problems."""

    name: str = _choice("arithmetic", TASKS, "which task")
    module: str = _text("", "a task of your own instead: my_task.py or a dotted name")
    data: str = _text("", "its data: a folder, a .jsonl file, tfds:NAME or hf:OWNER/NAME")
    dev: float = _number(0.1, "(0, 1)", "share of the training set to choose the round by")
    bad: float = _number(0.01, "[0, 1]", "largest share of rows that may be unusable")
    min_digits: int = _number(1, "[1, 20]", "fewest digits of a number to add")
    max_digits: int = _number(5, "[1, 20]", "most digits of a number to add in training")
    ood_digits: int = _number(10, "[0, 40]", "most digits out of distribution; 0 = none")
    length: int = _number(2, "[1, 20]", "last_letters: words, coin_flip: people, in training")
    ood_length: int = _number(4, "[0, 40]", "most of these out of distribution; 0 = none")
    question_field: str = _text("question", "jsonl: a field, or a template with {field}s")
    answer_field: str = _text(
        "answer", "jsonl: a field, or a template; empty = no answers are known"
    )
    rule: str = _choice(
        "marker", ("marker", "number", "letter", "regex"), "jsonl: finds the answer"
    )
    pattern: str = _text("####", "jsonl: the marker, or the regular expression with one group")
    hint: str = _text(" ({answer})", "jsonl: what rationalization puts after the question")
    few_shot_file: str = _text("", "jsonl: worked examples (question, rationale, answer)")


@dataclasses.dataclass(frozen=True)
class Model:
    """The decoder; the sizes are those of the one made here, where there is no `source`."""

    source: str = _text(
        "", "a pretrained one: folder, .gguf file, run, hub's owner/name, shipped:NAME"
    )
    chat: bool = _switch(False, "whether prompts go through its chat template")
    layers: int = _number(4, "[1, 200]", "decoder blocks")
    width: int = _number(128, "[1, 65536]", "features of the residual stream")
    heads: int = _number(4, "[1, 512]", "attention heads")
    head_dim: int = _number(32, "[1, 1024]", "features of a head")
    hidden: int = _number(512, "[1, 524288]", "features inside the MLP")
    rotary: int = _number(16, "[0, 1024]", "features of a head that are rotated by position")
    context: int = _number(1024, "[16, 1048576]", "longest sequence, in tokens")
    dtype: str = _choice("float32", ("float32", "bfloat16"), "computation; weights are float32")


# Settings of the shape of a model that is made in the run.
SHAPE = ("layers", "width", "heads", "head_dim", "hidden", "rotary", "context")


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """The base model, made from a corpus of scratchpads."""

    base: str = _text("", "folder of a run whose base model to take instead")
    steps: int = _number(600, "[0, inf)", "updates")
    warmup_steps: int = _number(50, "[0, inf)", "updates until the full learning rate")
    learning_rate: float = _number(2e-3, "(0, 10]", "Adam's highest; a cosine down from there")
    examples: int = _number(20000, "[1, inf)", "examples in the corpus")
    hinted: float = _number(0.7, "[0, 1]", "share of the examples that have a hint")
    easy: float = _number(0.5, "[0, 1]", "share of those without a hint that have no carries")
    shots: int = _number(1, "[1, 100]", "most examples in a document")
    batch_size: int = _number(16, "[1, 65536]", "packed sequences in an update")
    length: int = _number(256, "[16, 1048576]", "tokens in a packed sequence")
    micro_batch: int = _number(4, "[0, 65536]", "sequences a device works on at a time; 0 = all")
    clip: float = _number(1.0, "(0, inf)", "largest norm of a gradient")
    b2: float = _number(0.95, "[0, 1)", "Adam's decay of the second moment")
    save_every: int = _number(100, "[1, inf)", "updates between checkpoints")


@dataclasses.dataclass(frozen=True)
class FewShot:
    """The worked examples before a question."""

    examples: int = _number(0, "[0, 100]", "worked examples (arithmetic: of each class); 0 = none")
    rounds: int = _number(1, "[0, inf)", "first rounds that use them")
    own_class: bool = _switch(False, "before a question only those of its class, where it has any")


@dataclasses.dataclass(frozen=True)
class Sampler:
    """How rationales are decoded."""

    samples: int = _number(
        1, "[1, 2048]", "rationales a question; more than one need a temperature"
    )
    rows: int = _number(0, "[0, 65536]", "rationales decoded at a time; 0 = as memory allows")
    refills: int = _number(16, "[1, 65536]", "rationales a slot writes before they go to disk")
    temperature: float = _number(0.0, "[0, 10]", "of rationales; 0 = greedy, as evaluation is")
    top_k: int = _number(0, "[0, inf)", "sample from so many likeliest tokens; 0 = all")
    top_p: float = _number(1.0, "(0, 1]", "sample from the likeliest tokens of this mass")
    stop: str = _text("", "text that ends a completion; empty = as the task says")
    max_new_tokens: int = _number(0, "[0, 1048576]", "longest completion; 0 = as the task needs")


@dataclasses.dataclass(frozen=True)
class Rationalize:
    """A second try, with the answer as a hint, at what failed."""

    enabled: bool = _switch(True, "whether to try again")
    rehearsal: float = _number(0.0, "[0, 1]", "share of what is kept trained on with its hint too")
    score_leaks: bool = _switch(False, "measure how far the hint made each kept one likelier")


@dataclasses.dataclass(frozen=True)
class Labels:
    """The answers that rationales are kept by."""

    source: Literal["gold", "majority"] = _choice(
        "gold", ("gold", "majority"), "the data's answers, or the most frequent of the samples'"
    )
    threshold: float = _number(0.0, "[0, 1]", "majority: least share of a question's samples")


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which of the rationales with the right answer are trained on."""

    cap: int = _number(0, "[0, inf)", "most kept a question; 0 = all")
    dedupe: Literal["none", "text", "steps"] = _choice(
        "none",
        ("none", "text", "steps"),
        "of a question's equal texts, or lists of steps, keep one",
    )
    wrong_steps: bool = _switch(
        False, "drop rationales with a step that is wrong, where one can tell"
    )
    unchecked: bool = _switch(False, "drop rationales without a step that one can check")
    leaks: bool = _switch(False, "drop rationales whose words give the hint away")
    max_leak: float = _number(0.0, "[0, inf)", "highest mean leak score (nats a token); 0 = any")


@dataclasses.dataclass(frozen=True)
class Rounds:
    """The outer loop."""

    count: int = _number(8, "[0, 1000]", "most rounds")
    problems: int = _number(2000, "[0, inf)", "training problems a round; 0 = all there are")
    start: Literal["base", "previous"] = _choice(
        "base", ("base", "previous"), "the weights that a round's training starts from"
    )
    data: Literal["round", "all"] = _choice(
        "round", ("round", "all"), "whose kept rationales: the round's, or those of all so far"
    )
    keep_weights: str = _choice("all", ("all", "best"), "of which rounds: all, or best and last")
    patience: int = _number(0, "[0, 1000]", "stop after so many rounds without gain; 0 = never")


@dataclasses.dataclass(frozen=True)
class Train:
    """Fine-tuning, from the base weights in every round."""

    first_steps: int = _number(40, "[1, inf)", "updates in the first round")
    growth: float = _number(1.2, "[1, 10]", "factor on the updates from round to round")
    max_steps: int = _number(8000, "[1, inf)", "most updates in a round")
    batch_size: int = _number(16, "[1, 65536]", "packed sequences in an update")
    length: int = _number(256, "[16, 1048576]", "tokens in a packed sequence")
    micro_batch: int = _number(4, "[0, 65536]", "sequences a device works on at a time; 0 = all")
    remat: Literal["none", "blocks"] = _choice(
        "none", ("none", "blocks"), "what is computed again for the gradient, to save memory"
    )
    learning_rate: float = _number(1e-3, "(0, 10]", "Adam's highest")
    schedule: str = _choice("constant", ("constant", "cosine"), "learning rate after the warm-up")
    warmup_steps: int = _number(20, "[0, inf)", "updates until the full learning rate")
    clip: float = _number(1.0, "(0, inf)", "largest norm of a gradient")
    weight_decay: float = _number(0.0, "[0, 10]", "decoupled, as in AdamW")
    b1: float = _number(0.9, "[0, 1)", "Adam's decay of the first moment")
    b2: float = _number(0.999, "[0, 1)", "Adam's decay of the second moment")
    save_every: int = _number(100, "[1, inf)", "updates between checkpoints")
    few_shot: bool = _switch(False, "train behind the few-shot prompt, where it is shown")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """The held-out problems."""

    problems: int = _number(
        100, "[0, inf)", "a class (made-up questions) or in all (data sets); 0 = all"
    )
    ood_problems: int = _number(20, "[1, inf)", "of each class that is out of distribution")
    test_problems: int = _number(0, "[0, inf)", "of the test set, for the best round; 0 = all")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """The devices along each axis; -1 = the rest of them."""

    data: int = _number(-1, "[1, inf)", "whole copies of the weights", also=-1)
    fsdp: int = _number(1, "[1, inf)", "shards of the weights, batch split too", also=-1)
    tensor: int = _number(1, "[1, inf)", "shards of the heads and of the MLP", also=-1)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides how a run goes."""

    seed: int = _number(0, "[0, 2147483647]", "of all randomness")
    method: str = _choice(
        "rationale", ("rationale", "direct"), "what is learned; 'direct' = gold answers alone"
    )
    mode: str = _choice(
        "rounds",
        ("rounds", "fused"),
        "how a round learns; 'fused' = one update a batch",
    )
    policy_refresh_every: int = _number(
        0, "[0, inf)", "fused: updates between copies of the learner to the sampler; 0 = a round"
    )
    grading: Literal["exact", "flexible"] = _choice(
        "exact", ("exact", "flexible"), "which rule the filter goes by"
    )
    task: Task = Task()
    model: Model = Model()
    pretrain: Pretrain = Pretrain()
    few_shot: FewShot = FewShot()
    sampler: Sampler = Sampler()
    rationalize: Rationalize = Rationalize()
    labels: Labels = Labels()
    filter: Filter = Filter()
    rounds: Rounds = Rounds()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    mesh: Mesh = Mesh()


SECTIONS: dict[str, type] = {
    field.name: type(field.default)
    for field in dataclasses.fields(Settings)
    if dataclasses.is_dataclass(field.default)
}

# Every setting by its path, as in 'train.clip'; its metadata holds 'allowed' and 'help'.
SETTINGS: dict[str, dataclasses.Field[Any]] = {
    field.name: field for field in dataclasses.fields(Settings) if field.name not in SECTIONS
} | {
    f"{name}.{field.name}": field
    for name, section in SECTIONS.items()
    for field in dataclasses.fields(section)
}
