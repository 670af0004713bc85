"""Chats as they are sampled and trained on, whatever the template does: data/prompts.py with data/chat_template.py."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Sequence

import pytest
import tokenizers

import sentencepiece_toys
import smollm2
from star_jax import tasks
from star_jax.data.prompts import Prompter
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.grading import filtering
from star_jax.tasks.gsm8k import GSM8K

TASK = GSM8K("nowhere")
PROBLEM = tasks.Problem("a", "How much is 4 + 1?", "5", "4 + 1 = 5", "1")


def chat_of(
    folder: pathlib.Path,
    template: str,
    prefix: str | None = None,
    tokens: Sequence[str] = (),
    **said: str,
) -> HuggingFaceTokenizer:
    """A tokenizer whose chats are written by `template`: SmolLM2's or one of SentencePiece's.

    It has some special tokens more.
    """
    made = smollm2.tokenizer() if prefix is None else sentencepiece_toys.tokenizer(prefix)
    made.save(folder)
    found = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.add_special_tokens(list(tokens))
    found.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    return HuggingFaceTokenizer.open(folder)


TURNS = (
    "{% for m in messages %}TURN{{ m.role }}\n{{ m.content.split('</think>')[-1] }}END{% endfor %}"
)
OPENED = "{% if add_generation_prompt %}TURNassistant\n<think>\n{% endif %}"


@pytest.mark.parametrize("prefix", [None, "normalizer", "first", ""])
@pytest.mark.parametrize("text", ["The sum\n#### 5", "4 + 1 is 5.\n</think>\n\nThe end.\n#### 5"])
def test_a_reply_goes_on_from_what_the_prompt_has_begun(
    tmp_path: pathlib.Path, prefix: str | None, text: str
):
    names = ("<|im_start|>", "<|im_end|>") if prefix is None else ("<turn>", "</s>")
    template = (TURNS + OPENED).replace("TURN", names[0]).replace("END", names[1])
    tokenizer = chat_of(tmp_path, template, prefix, eos_token="<s>" if prefix else "<|endoftext|>")
    prompter, problem = Prompter(tokenizer, TASK, chat=True), PROBLEM
    kept = filtering.make_sample(
        TASK, dataclasses.replace(problem, answer="5"), 1, False, f" {text}\n",
        truncated=False, tokens=9,
    )  # fmt: skip
    example = prompter.training_example(kept)
    given = example.tokens[example.weights == 0].tolist()
    assert given == prompter.prompt_ids(problem, hint=False)
    asked = [{"role": "user", "content": prompter.task.message(problem, False)}]
    assert example.tokens.tolist() == [*tokenizer.chat(asked, reply_start=text), prompter.end]
    assert tokenizer.name(prompter.end) == names[1] and prompter.end in tokenizer.eos_ids
    assert tokenizer.decode(example.tokens).endswith(f"<think>\n{text}"), "as it was written"
    assert example.tokens.tolist().count(prompter.end) == given.count(prompter.end) + 1


@pytest.mark.parametrize(
    ("after", "end", "stop"), [("<|im_end|>", 2, ""), ("", 0, ""), ("\n<|done|>\n", 0, "<|done|>")]
)
def test_a_reply_ends_as_the_template_says(tmp_path: pathlib.Path, after: str, end: int, stop: str):
    template = "{% for m in messages %}<|im_start|>{{ m.content }}" + after + "{% endfor %}"
    tokenizer = chat_of(tmp_path, template, eos_token="<|endoftext|>")
    chat, text = (Prompter(tokenizer, TASK, chat=chat) for chat in (True, False))
    assert (chat.end, chat.stop) == (end, stop) and (text.end, text.stop) == (0, "\n\n")
    learnt = chat.direct_example(PROBLEM).tokens.tolist()
    assert learnt[-1] == end and end in tokenizer.eos_ids


def test_what_the_template_adds_to_a_reply_is_not_trained_on(tmp_path: pathlib.Path):
    # sampling goes on from the prompt without it; special tokens do not show in a text
    thought = "{% if m.role == 'assistant' %}<|endoftext|><repo_name>\n{% endif %}"
    template = TURNS.replace("TURN", "<|im_start|>").replace("END", "<|im_end|>")
    template = template.replace("{{ m.content", thought + "{{ m.content")
    template += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    tokenizer = chat_of(tmp_path, template)
    prompter = Prompter(tokenizer, TASK, chat=True)
    example = prompter.direct_example(PROBLEM)
    learnt = example.tokens[example.weights == 1].tolist()
    assert learnt == [*tokenizer.encode(TASK.direct(PROBLEM).strip()), 2]


ROLES = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|over|>{% endfor %}"
ROWS = 49_152


@pytest.mark.parametrize(
    ("tokens", "eos", "chat", "beyond"),
    [
        (["<|user|>", "<|over|>"], "<|im_end|>", True, "<|user|>"),
        (["<|user|>", "<|over|>"], "<|im_end|>", False, ""),
        (["<|user|>", "<|over|>"], "<|over|>", False, "<|over|>"),
        (["<|image|>", "<|over|>"], "<|im_end|>", True, "<|over|>"),
        (["<|image|>", "<|tool|>"], "<|im_end|>", True, ""),
    ],
)
def test_what_prompts_and_ends_need_must_have_a_row(
    tmp_path: pathlib.Path, tokens: list[str], eos: str, chat: bool, beyond: str
):
    tokenizer = chat_of(tmp_path, ROLES, tokens=tokens, eos_token=eos)
    prompter = Prompter(tokenizer, TASK, chat=chat)
    if not beyond:
        return prompter.check(ROWS)
    prompter.check(ROWS + len(tokens))
    id_ = ROWS + tokens.index(beyond)
    with pytest.raises(ValueError, match=rf"{re.escape(beyond)}' is token {id_}, .* {ROWS} rows"):
        prompter.check(ROWS)


def test_a_word_without_a_row_is_refused():
    with pytest.raises(ValueError, match=r"is token 49000, and the model has 49000 rows"):
        Prompter(smollm2.tokenizer(), TASK).check(49_000)
