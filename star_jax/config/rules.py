"""Rules between settings: which values cannot go together."""

import dataclasses
from collections.abc import Callable

from star_jax.config.schema import MADE_UP, SETTINGS, SHAPE


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule between settings.

    Attributes:
        paths: settings that the rule compares; messages name the first one.
        holds: function of the values at `paths`; returns whether the rule is kept.
        must: text of the message, formatted with the values at `paths`.
    """

    paths: tuple[str, ...]
    holds: Callable[..., bool]
    must: str


def _at_most(path: str, limit: str) -> Rule:
    return Rule(
        (path, limit), lambda value, most: value <= most, f"must be at most {limit} = {{1}}"
    )


def _multiple(path: str, parts: str) -> Rule:
    # A mesh axis of -1 is known only once there are devices.
    return Rule(
        (path, parts),
        lambda value, n: n < 0 or value % n == 0,
        f"must be a multiple of {parts} = {{1}}",
    )


def _sampling(path: str, neutral: float) -> Rule:
    return Rule(
        (path, "sampler.temperature"),
        lambda value, temperature: value == neutral or temperature > 0,
        "changes nothing at sampler.temperature = {1}; set that above 0 as well",
    )


def _fused(path: str, why: str) -> Rule:
    """A rule that leaves a setting at its default in mode "fused"."""
    needed = SETTINGS[path].default
    return Rule(
        (path, "mode"),
        lambda value, mode: mode != "fused" or value == needed,
        f"must be {needed!r} in mode 'fused': {why}",
    )


RULES = (
    Rule(
        ("task.data", "task.name", "task.module"),
        lambda data, name, module: bool(data or module) or name in MADE_UP,
        "must say where the data of {1} lies: a folder, a .jsonl file, tfds:NAME or hf:OWNER/NAME",
    ),
    Rule(
        ("sampler.max_new_tokens", "task.name", "task.module"),
        lambda most, name, module: most > 0 or bool(module) or name == "arithmetic",
        "must be above 0: only arithmetic knows how long its answers are",
    ),
    Rule(
        ("model.source", "task.name", "task.module"),
        lambda source, name, module: bool(source or module) or name == "arithmetic",
        "must name a pretrained model: only arithmetic has a corpus to make one from",
    ),
    Rule(
        ("model.chat", "model.source"),
        lambda chat, source: bool(source) or not chat,
        "needs the tokenizer of a pretrained model: set model.source",
    ),
    *(
        Rule(
            (path, "task.name", "task.module"),
            lambda count, name, module: count > 0 or bool(module) or name not in MADE_UP,
            "must be above 0: there is no end of the questions of {1}",
        )
        for path in ("rounds.problems", "evaluate.problems")
    ),
    _at_most("task.min_digits", "task.max_digits"),
    Rule(
        ("task.ood_digits", "task.max_digits"),
        lambda beyond, most: beyond == 0 or beyond > most,
        "must be 0 (none) or above task.max_digits = {1}",
    ),
    Rule(
        ("task.ood_length", "task.length"),
        lambda beyond, most: beyond == 0 or beyond > most,
        "must be 0 (none) or above task.length = {1}",
    ),
    _sampling("sampler.top_k", 0),
    _sampling("sampler.top_p", 1),
    _at_most("train.first_steps", "train.max_steps"),
    Rule(
        ("train.few_shot", "rationalize.rehearsal"),
        lambda few_shot, rehearsal: not few_shot or rehearsal == 0,
        "cannot go with rationalize.rehearsal = {1}, whose examples have hints",
    ),
    Rule(
        ("few_shot.own_class", "task.name", "task.module"),
        lambda own, name, module: not own or bool(module) or name == "arithmetic",
        "changes nothing for {1}: its worked examples are of one class",
    ),
    Rule(
        ("few_shot.own_class", "few_shot.examples"),
        lambda own, count: not own or count > 0,
        "changes nothing with few_shot.examples = {1}",
    ),
    *(
        Rule(
            ("few_shot.own_class", path),
            lambda own, other: not own or not other,
            f"cannot go with {path} = {{1}}, which has one few-shot prompt for all questions",
        )
        for path in ("train.few_shot", "rationalize.score_leaks")
    ),
    Rule(
        ("policy_refresh_every", "mode"),
        lambda every, mode: every == 0 or mode == "fused",
        "must be 0 in mode {1!r}: there the policy is the round's",
    ),
    Rule(
        ("sampler.rows", "mode"),
        lambda rows, mode: mode != "fused" or rows > 0,
        "must be above 0 in mode 'fused': it is how many questions an update is of",
    ),
    Rule(
        ("rationalize.rehearsal", "sampler.rows", "mode"),
        lambda share, rows, mode: mode != "fused" or share == 0 or not 0 < rows * share < 1,
        "is none of the sampler.rows = {1} questions of a step in mode 'fused'",
    ),
    _fused("method", "it learns what it has written"),
    _fused("grading", "it grades on the device"),
    *(
        _fused(path, why)
        for path, why in (
            ("sampler.samples", "a step decodes one rationale a question"),
            ("labels.source", "it grades on the device"),
            ("filter.cap", "a step decodes one rationale a question"),
            ("filter.dedupe", "a step decodes one rationale a question"),
            ("filter.wrong_steps", "it grades on the device"),
            ("filter.unchecked", "it grades on the device"),
            ("filter.leaks", "it grades on the device"),
            ("few_shot.own_class", "a step has one few-shot prompt"),
            ("rationalize.score_leaks", "what is scored is already learned"),
            ("rounds.start", "policy_refresh_every says where a round starts"),
            ("rounds.data", "it learns each batch once"),
        )
    ),
    Rule(
        ("sampler.samples", "sampler.temperature"),
        lambda samples, temperature: samples == 1 or temperature > 0,
        "are all the same at sampler.temperature = {1}; set that above 0, such as 0.7",
    ),
    Rule(
        ("labels.source", "sampler.samples"),
        lambda source, samples: source == "gold" or samples >= 3,
        "needs sampler.samples of at least 3 to vote, not {1}",
    ),
    Rule(
        ("labels.source", "rationalize.enabled"),
        lambda source, enabled: source == "gold" or not enabled,
        "cannot go with rationalize.enabled = {1}: a question without a majority has no hint",
    ),
    Rule(
        ("labels.source", "method"),
        lambda source, method: source == "gold" or method == "rationale",
        "cannot go with method = {1!r}, which trains on the data's answers",
    ),
    Rule(
        ("labels.threshold", "labels.source"),
        lambda threshold, source: threshold == 0 or source == "majority",
        "changes nothing with labels.source = {1!r}",
    ),
    Rule(
        ("task.answer_field", "labels.source"),
        lambda field, source: bool(field) or source == "majority",
        "leaves no answers to grade by; set labels.source=majority too",
    ),
    Rule(
        ("task.answer_field", "task.name", "task.module"),
        lambda field, name, module: bool(field) or bool(module) or name == "jsonl",
        "can be empty for jsonl only: {1} has answers; labels.source=majority alone ignores them",
    ),
    Rule(
        ("rounds.patience", "task.answer_field"),
        lambda patience, field: bool(field) or patience == 0,
        "must be 0 without answers (task.answer_field = {1!r}): no accuracy is known",
    ),
    Rule(
        ("evaluate.test_problems", "task.answer_field"),
        lambda count, field: bool(field) or count == 0,
        "must be 0 without answers (task.answer_field = {1!r}): no accuracy is known",
    ),
    Rule(
        ("rationalize.score_leaks", "rationalize.enabled"),
        lambda scored, enabled: enabled or not scored,
        "scores rationalizations, and rationalize.enabled = {1}",
    ),
    Rule(
        ("filter.max_leak", "rationalize.score_leaks"),
        lambda most, scored: most == 0 or scored,
        "needs the scores: set rationalize.score_leaks=true",
    ),
    *(
        Rule(
            (path, "method"),
            lambda value, method, default=default: value == default or method == "rationale",
            "changes nothing with method = {1!r}, which samples no rationales",
        )
        for path, default in (
            ("sampler.samples", 1),
            ("rounds.data", "round"),
            ("filter.cap", 0),
            ("filter.dedupe", "none"),
            ("filter.wrong_steps", False),
            ("filter.unchecked", False),
            ("rationalize.score_leaks", False),
        )
    ),
    Rule(
        ("mesh.data", "mesh.fsdp", "mesh.tensor"),
        lambda *sizes: sizes.count(-1) <= 1,
        "only one of mesh.data, mesh.fsdp, mesh.tensor can be -1",
    ),
)

# Rules for a model that is there already.
SOURCE_RULES = tuple(
    Rule(
        (path, "model.source"),
        lambda value, source, default=field.default: value == default,
        "changes nothing with model.source = {1!r}, a finished model; set that to '' to make one",
    )
    for path, field in SETTINGS.items()
    if path.startswith("pretrain.") or path in {f"model.{name}" for name in SHAPE}
)

# Rules for a model that is trained from scratch; a pretrained model's config.json has its shape.
MADE_RULES = (
    Rule(
        ("model.width", "model.heads", "model.head_dim"),
        lambda width, heads, head_dim: width == heads * head_dim,
        "must be model.heads x model.head_dim = {1} x {2}",
    ),
    Rule(("model.rotary",), lambda rotary: rotary % 2 == 0, "must be even"),
    _at_most("model.rotary", "model.head_dim"),
    _multiple("model.heads", "mesh.tensor"),
    Rule(
        ("pretrain.warmup_steps", "pretrain.steps"),
        lambda warmup, steps: steps == 0 or warmup <= steps,
        "must be at most pretrain.steps = {1}",
    ),
    _at_most("pretrain.length", "model.context"),
    _at_most("sampler.max_new_tokens", "model.context"),
    _at_most("train.length", "model.context"),
)
