import dataclasses
import functools
import pathlib

import pytest

import sentencepiece_toys
import smollm2
from star_jax import tasks
from star_jax.data import packing
from star_jax.data.prompts import Prompter
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import ByteTokenizer, HuggingFaceTokenizer
from star_jax.grading import filtering
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.gsm8k import GSM8K
from texts import questions, solutions

TOKENIZER = ByteTokenizer()
TASK = Arithmetic()
PROMPTER = Prompter(TOKENIZER, TASK)
PROBLEMS = TASK.train(seed=0, round=1, count=10)
BOS, EOS = [TOKENIZER.bos_id], [TOKENIZER.eos_id]


def kept_sample(problem: tasks.Problem, hint: bool) -> Sample:
    gold = TASK.completion(problem.rationale, problem.answer)
    return filtering.make_sample(
        TASK, problem, 1, hint, gold, truncated=False, tokens=len(gold) + 1
    )


@pytest.mark.parametrize("hint", [False, True])
def test_a_row_is_the_head_of_a_document(hint: bool):
    ids = PROMPTER.prompt_ids(PROBLEMS[2], hint)
    assert ids[:1] == BOS
    assert TOKENIZER.decode(ids[1:]) == TASK.prompt(PROBLEMS[2], hint)
    assert (TASK.prompt(PROBLEMS[2], True) == TOKENIZER.decode(ids)) == hint


@pytest.mark.parametrize("hint", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_a_few_shot_prompt_is_whole_documents(hint: bool, direct: bool):
    expected = []
    for problem in PROBLEMS[:3]:
        gold = TASK.completion(problem.rationale, problem.answer)
        completion = TASK.direct(problem) if direct else gold
        expected += BOS + TOKENIZER.encode(TASK.prompt(problem, hint) + completion) + EOS
    assert Prompter(TOKENIZER, TASK, PROBLEMS[:3], direct).few_shot(hint) == expected


@pytest.mark.parametrize("hint", [False, True])
def test_a_class_stands_behind_examples_of_its_own(hint: bool):
    shown = TASK.few_shot(0, 2)  # of each of five classes
    own = Prompter(TOKENIZER, TASK, shown, own_class=True)
    for problem in PROBLEMS:
        examples = [one for one in shown if one.group == problem.group]
        assert len(examples) == 2
        alone = Prompter(TOKENIZER, TASK, examples)
        assert own.for_class(problem.group).few_shot(hint) == alone.few_shot(hint)
        ids = own.prompt_ids(problem, hint, with_few_shot=True)
        assert ids == alone.prompt_ids(problem, hint, with_few_shot=True)
    beyond = own.for_class("7").few_shot(hint)
    assert beyond == Prompter(TOKENIZER, TASK, shown[:2]).few_shot(hint)
    longest = [own.for_class(group).few_shot(True) for group in "123457"]
    assert own.longest_few_shot() == max(map(len, longest))
    assert PROMPTER.for_class("1") is PROMPTER and PROMPTER.longest_few_shot() == 0


def test_no_examples_are_no_few_shot_prompt():
    assert PROMPTER.few_shot(hint=False) == []


def test_few_shot_prompt_and_row_read_like_pretraining_documents():
    shown, asked = PROBLEMS[:2]
    gold = [TASK.completion(p.rationale, p.answer) for p in (shown, asked)]
    documents = [
        packing.encode(TOKENIZER, TASK.prompt(p, False), completion)
        for p, completion in zip((shown, asked), gold, strict=True)
    ]
    prompter = Prompter(TOKENIZER, TASK, [shown])
    sampled = prompter.few_shot(hint=False)
    sampled += prompter.prompt_ids(asked, hint=False, with_few_shot=True)
    sampled += TOKENIZER.encode(gold[1]) + EOS
    assert packing.join(documents).tokens.tolist() == sampled


@pytest.mark.parametrize("problem", PROBLEMS[:5], ids=lambda problem: problem.id)
@pytest.mark.parametrize("hint", [False, True])
def test_training_reads_the_prompt_without_hint_and_learns_the_rest(
    problem: tasks.Problem, hint: bool
):
    sample = kept_sample(problem, hint)
    example = PROMPTER.training_example(sample)
    learnt = example.weights == 1
    border = int(learnt.argmax())
    assert example.tokens[:border].tolist() == PROMPTER.prompt_ids(problem, hint=False)
    assert example.tokens[border:].tolist() == TOKENIZER.encode(sample.completion) + EOS
    assert learnt[border:].all() and not example.weights[:border].any()


@pytest.mark.parametrize(
    "completion",
    [
        "<scratch>\n6 + 2 , C: 0\n, 8 C: 0\n0 8\n</scratch>\n8",
        "First: 6. Then: 2.\n</scratch>\n8",
        ":::\n</scratch>\n8",
        "Input:\n6 + 2\nTarget:\n</scratch>\n8",  # the words of the prompt once more
    ],
)
def test_a_rationale_with_colons_keeps_its_head_in_the_loss(completion: str):
    # the released code learns only what follows the last colon
    problem = tasks.Problem("6+2", "6 + 2", "8", rationale="", group="1")
    sample = filtering.make_sample(TASK, problem, 1, False, completion, truncated=False, tokens=9)
    example = PROMPTER.training_example(sample)
    assert TOKENIZER.decode(example.tokens[example.weights == 1]) == completion
    assert example.weights.sum() == len(completion) + 1


def test_training_on_what_the_filter_dropped_is_refused():
    dropped = dataclasses.replace(kept_sample(PROBLEMS[0], False), kept=False, reason="truncated")
    with pytest.raises(ValueError, match=r"was dropped \(truncated\)"):
        PROMPTER.training_example(dropped)


def test_the_prompt_stored_with_what_is_kept_is_the_one_trained_on():
    problem = PROBLEMS[3]
    failed = filtering.make_sample(TASK, problem, 1, False, "", truncated=False, tokens=1)
    (kept,) = filtering.filter_samples([failed], [kept_sample(problem, hint=True)])
    example = PROMPTER.training_example(kept)
    assert TOKENIZER.decode(example.tokens) == kept.prompt + kept.completion


def test_a_direct_example_is_the_answer_alone():
    example = PROMPTER.direct_example(PROBLEMS[4])
    assert TOKENIZER.decode(example.tokens[example.weights == 0]) == TASK.prompt(PROBLEMS[4], False)
    learnt = example.tokens[example.weights == 1].tolist()
    assert learnt == TOKENIZER.encode(TASK.direct(PROBLEMS[4])) + EOS


class TestPretrained:
    """With a real model's tokenizer: no bos, texts held apart by a blank line, or a chat."""

    PROBLEMS = (
        tasks.Problem("a", "How much is 6 + 2?", "8", "6 + 2 = <<6+2=8>>8", "1"),
        tasks.Problem("b", "How much is 7 + 2?", "9", "7 + 2 = <<7+2=9>>9", "1"),
        tasks.Problem("c", "How much is 4 + 1?", "5", "", "1"),
    )
    TASK = GSM8K("nowhere")

    def prompter(self, **more: bool) -> Prompter:
        return Prompter(smollm2.tokenizer(), self.TASK, self.PROBLEMS[:2], **more)

    @pytest.mark.parametrize("hint", [False, True])
    def test_examples_and_question_are_one_text(self, hint: bool):
        prompter = self.prompter()
        ids = prompter.few_shot(hint) + prompter.prompt_ids(
            self.PROBLEMS[2], hint, with_few_shot=True
        )
        mark = " (8)", " (9)", " (5)"
        eight, nine, five = mark if hint else ("", "", "")
        assert smollm2.tokenizer().decode(ids) == (
            f"Q: How much is 6 + 2?{eight}\nA: 6 + 2 = <<6+2=8>>8\n#### 8\n\n"
            f"Q: How much is 7 + 2?{nine}\nA: 7 + 2 = <<7+2=9>>9\n#### 9\n\n"
            f"Q: How much is 4 + 1?{five}\nA:"
        )

    @pytest.mark.parametrize("hint", [False, True])
    def test_scratchpads_are_one_text_too(self, hint: bool):
        *shown, asked = PROBLEMS[:3]
        prompter = Prompter(smollm2.tokenizer(), TASK, shown)
        text = "".join(
            TASK.prompt(p, hint) + TASK.completion(p.rationale, p.answer) + "\n\n" for p in shown
        )
        ids = prompter.few_shot(hint) + prompter.prompt_ids(asked, hint, with_few_shot=True)
        assert smollm2.tokenizer().decode(ids) == text + TASK.prompt(asked, hint)
        assert prompter.stop == "\n\n" and PROMPTER.stop == ""

    def test_training_ends_with_the_end_of_the_text(self):
        gold = self.TASK.completion("4 + 1 = 5", "5")
        kept = filtering.make_sample(
            self.TASK, self.PROBLEMS[2], 1, True, gold, truncated=False, tokens=9
        )
        example = self.prompter().training_example(kept)
        learnt = example.tokens[example.weights == 1].tolist()
        assert learnt == [*smollm2.tokenizer().encode(" 4 + 1 = 5\n#### 5"), 2]
        given = smollm2.tokenizer().decode(example.tokens[example.weights == 0])
        assert given == "Q: How much is 4 + 1?\nA:"

    @pytest.mark.parametrize("hint", [False, True])
    def test_a_chat_is_the_tokenizers_own(self, hint: bool):
        prompter = self.prompter(chat=True)
        shown = prompter.few_shot(hint) + prompter.prompt_ids(
            self.PROBLEMS[2], hint, with_few_shot=True
        )
        turns = []
        for problem in self.PROBLEMS[:2]:
            gold = self.TASK.completion(problem.rationale, problem.answer).strip()
            turns.append({"role": "user", "content": self.TASK.message(problem, hint)})
            turns.append({"role": "assistant", "content": gold})
        turns.append({"role": "user", "content": self.TASK.message(self.PROBLEMS[2], hint)})
        assert shown == smollm2.tokenizer().chat(turns)
        assert len(prompter.few_shot(hint)) > 90
        assert prompter.prompt_ids(self.PROBLEMS[2], hint) == smollm2.tokenizer().chat(turns[-1:])

    @pytest.mark.parametrize(
        ("template", "end"),
        [
            ("{{ content }}<|endoftext|>\n", 0),
            ("{{ content }}\n", 2),
            ("{{ content }}<|endoftext|>\n<|im_end|>", 0),
            ("{{ content }}<|im_end|>", 2),
        ],
    )
    def test_a_reply_to_train_on_ends_as_in_the_template(
        self, tmp_path: pathlib.Path, template: str, end: int
    ):
        smollm2.tokenizer().save(tmp_path)
        each = template.replace("content", "message.content")
        (tmp_path / "chat_template.jinja").write_text(
            "{% for message in messages %}" + each + "{% endfor %}"
        )
        (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
        tokenizer = HuggingFaceTokenizer.open(tmp_path)
        prompter = Prompter(tokenizer, self.TASK, chat=True)
        example = prompter.direct_example(self.PROBLEMS[0])
        learnt = example.tokens[example.weights == 1].tolist()
        assert learnt == [*tokenizer.encode("8"), end]

    @pytest.mark.parametrize("shown", [False, True])
    def test_a_hint_is_not_trained_on_in_a_chat(self, shown: bool):
        gold = self.TASK.completion("4 + 1 = 5", "5")
        kept = filtering.make_sample(
            self.TASK, self.PROBLEMS[2], 1, True, f"\n{gold} ", truncated=False, tokens=9
        )
        prompter = self.prompter(chat=True)
        example = prompter.training_example(kept, with_few_shot=shown)
        given = example.tokens[example.weights == 0].tolist()
        assert given == prompter.prompt_ids(self.PROBLEMS[2], hint=False, with_few_shot=shown)
        assert "(5)" not in smollm2.tokenizer().decode(given)
        learnt = example.tokens[example.weights == 1].tolist()
        assert learnt == [*smollm2.tokenizer().encode("4 + 1 = 5\n#### 5"), 2]

    def test_a_tokenizer_without_a_chat_template_is_refused(self):
        with pytest.raises(ValueError, match="config.model.chat: the tokenizer has no chat"):
            Prompter(TOKENIZER, TASK, chat=True).prompt_ids(PROBLEMS[0], hint=False)


TOKENIZERS = {
    "SmolLM2": smollm2.tokenizer,
    **{
        f"sentencepiece {prefix}": functools.partial(sentencepiece_toys.tokenizer, prefix)
        for prefix in ("normalizer", "first", "")
    },
}


GSM8K_PROBLEMS = [
    tasks.Problem(str(i), question, answer, rationale.strip(), "1")
    for i, (question, solution) in enumerate(zip(questions(206), solutions(206), strict=True))
    for rationale, _, answer in [solution.partition("\n#### ")]
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("hint", [False, True])
class TestWholeText:
    """However a tokenizer cuts texts, its ids are those of the whole, not of pieces together."""

    TASK = GSM8K("nowhere")
    SHOWN, ASKED = GSM8K_PROBLEMS[:6], GSM8K_PROBLEMS[6:]

    def whole(self, tokenizer: HuggingFaceTokenizer, text: str) -> list[int]:
        bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        return [*bos, *tokenizer.encode(text)]

    def test_examples_and_questions(self, tokenizer, hint: bool):
        prompter = Prompter(tokenizer(), self.TASK, self.SHOWN)
        head = "".join(
            self.TASK.prompt(p, hint) + self.TASK.completion(p.rationale, p.answer) + "\n\n"
            for p in self.SHOWN
        )
        for problem in self.ASKED:
            ids = prompter.few_shot(hint) + prompter.prompt_ids(problem, hint, with_few_shot=True)
            prompt = self.TASK.prompt(problem, hint)
            assert ids == self.whole(tokenizer(), head + prompt)
            assert prompter.prompt_ids(problem, hint) == self.whole(tokenizer(), prompt)

    def test_what_is_trained_on(self, tokenizer, hint: bool):
        prompter = Prompter(tokenizer(), self.TASK, self.SHOWN)
        for problem in self.ASKED:
            text = self.TASK.completion(problem.rationale, problem.answer)
            document = self.whole(tokenizer(), self.TASK.prompt(problem, hint) + text)
            given = len(prompter.prompt_ids(problem, hint))
            # what a model writes there is read, graded and trained on again, token by token
            said = tokenizer().decode(document[given:])
            assert said == text
            kept = filtering.make_sample(
                self.TASK, problem, 1, hint, said, truncated=False, tokens=9
            )
            example = prompter.training_example(kept, hint)
            assert example.tokens.tolist() == [*document, tokenizer().eos_id]
            assert example.weights.tolist() == [0] * given + [1] * (len(document) + 1 - given)


CHAT = (
    "{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


@pytest.mark.parametrize("prefix", ["normalizer", "first", ""])
@pytest.mark.parametrize("changes", [("", ""), ("m.content", "m.content.split('####')[-1]")])
def test_a_reply_has_the_tokens_that_the_template_gives_it(
    tmp_path: pathlib.Path, prefix: str, changes: tuple[str, str]
):
    sentencepiece_toys.tokenizer(prefix).save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(CHAT.replace(*changes))
    tokenizer = HuggingFaceTokenizer.open(tmp_path)
    problem, task = GSM8K_PROBLEMS[0], GSM8K("nowhere")
    text = task.completion(problem.rationale, problem.answer)
    kept = filtering.make_sample(task, problem, 1, False, text, truncated=False, tokens=9)
    example = Prompter(tokenizer, task, chat=True).training_example(kept)
    learnt = example.tokens[example.weights == 1].tolist()
    assert tokenizer.decode(learnt).strip() == text.strip(), "whole, whatever the template leaves"
    turns = [
        {"role": "user", "content": task.message(problem, hint=False)},
        {"role": "assistant", "content": text.strip()},
    ]
    whole = tokenizer.chat(turns, reply=False)
    assert (example.tokens.tolist() == whole) == (not changes[0])


def test_the_longest_prompt_of_a_problem_counts():
    # by itself the prompt is two tokens here, after an example three
    tokenizer = sentencepiece_toys.tokenizer()
    problem = tasks.Problem("a", "The", "8", "The", "1")

    class Bare(GSM8K):
        def prompt(self, problem: tasks.Problem, hint: bool) -> str:
            return problem.question

    prompter = Prompter(tokenizer, Bare("nowhere"), [problem])
    rows = [prompter.prompt_ids(problem, hint=True, with_few_shot=shown) for shown in (False, True)]
    assert prompter.length(problem) == max(map(len, rows))


@pytest.mark.parametrize(("rehearsal", "again"), [(0.0, 0), (0.2, 2), (0.25, 2), (1.0, 10)])
def test_a_share_of_what_is_kept_is_trained_on_with_its_hint_too(rehearsal: float, again: int):
    problems = TASK.train(seed=0, round=1, count=10)
    kept = [
        filtering.make_sample(
            TASK, p, 1, True, TASK.completion(p.rationale, p.answer), truncated=False, tokens=1
        )
        for p in problems
    ]
    examples = PROMPTER.training_examples(kept, rehearsal)
    texts = [TOKENIZER.decode(example.tokens) for example in examples]
    assert len(texts) == 10 + again
    for text, problem in zip(texts, problems, strict=False):
        assert text.startswith(TASK.prompt(problem, hint=False))
    hinted = {TASK.prompt(problem, hint=True) for problem in problems}
    assert all(any(text.startswith(prompt) for prompt in hinted) for text in texts[10:])


@pytest.mark.parametrize("hint", [False, True])
@pytest.mark.parametrize("shown", [0, 2])
def test_completion_ids_are_the_targets_of_an_example(hint: bool, shown: int):
    prompter = Prompter(TOKENIZER, TASK, PROBLEMS[:shown])
    kept = kept_sample(PROBLEMS[4], hint=True)
    example = prompter.training_example(kept, hint=hint, with_few_shot=bool(shown))
    ids = prompter.completion_ids(kept.problem, hint, kept.completion)
    assert example.tokens[example.weights > 0].tolist() == ids
    assert ids == TOKENIZER.encode(kept.completion) + EOS
