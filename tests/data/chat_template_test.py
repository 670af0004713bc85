"""What a chat template ends a reply with, in the manner of each family; the rest is tokenizer_test's."""

import pytest
from transformers import PreTrainedTokenizerFast

import sentencepiece_toys
from star_jax.data.chat_template import ReplyEnding, Template, any_of

NAMES = ["<s>", "</s>", "<bos>", "<|begin|>", "<|im_start|>", "<|im_end|>", "<|user|>"]
NAMES += ["<|assistant|>", "<|system|>", "<|end|>", "<|eot_id|>", "<|head|>", "<|/head|>"]
NAMES += [
    "<start_of_turn>",
    "<end_of_turn>",
    "<think>",
    "</think>",
    "[INST]",
    "[/INST]",
    "\n\n",
    "▁▁",
]
CHATML = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"


def template(each: str, before: str = "", after: str = "") -> Template:
    whole = f"{before}{{% for m in messages %}}{each}{{% endfor %}}{after}"
    hub = PreTrainedTokenizerFast(
        tokenizer_object=sentencepiece_toys.backend(), eos_token="</s>", chat_template=whole
    )
    return Template(hub)


def by_role(question: str, answer: str) -> str:
    return f"{{% if m.role == 'user' %}}{question}{{% else %}}{answer}{{% endif %}}"


BY_LAST = "{% if loop.last %}LAST{% else %}NOT{% endif %}"


@pytest.mark.parametrize(
    ("found", "tokens", "text"),
    [
        (template(CHATML), ("<|im_end|>",), ""),
        (template(CHATML, before="<|im_start|>system\nBe good.<|im_end|>\n"), ("<|im_end|>",), ""),
        (
            template("<|head|>{{ m.role }}<|/head|>\n\n{{ m.content | trim }}<|eot_id|>", "<s>"),
            ("<|eot_id|>",),
            "",
        ),
        (
            template("<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n", "<bos>"),
            ("<end_of_turn>",),
            "",
        ),
        (
            template(by_role("[INST]{{ m.content }}[/INST]", " {{ m.content }}</s>"), "<s>"),
            ("</s>",),
            "",
        ),
        (
            template(by_role("<s>[INST] {{ m.content }} [/INST]", " {{ m.content }} </s>")),
            ("</s>",),
            "",
        ),
        # a text of its own ends after the turn
        (
            template("<|{{ m.role }}|>\n{{ m.content }}<|end|>\n", after="{{ eos_token }}"),
            ("<|end|>",),
            "",
        ),
        # what was thought is left out of a conversation
        (
            template("<|im_start|>{{ m.content.split('</think>')[-1] }}<|im_end|>"),
            ("<|im_end|>",),
            "",
        ),
        (template("<think>\n\n</think>\n\n{{ m.content }}<|im_end|>"), ("<|im_end|>",), ""),
        # only between messages, or other than between them
        (
            template("<|user|>{{ m.content }}" + BY_LAST.replace("LAST", "").replace("NOT", "</s>")),
            ("</s>",),
            "",
        ),
        (
            template("<|user|>{{ m.content }}" + BY_LAST.replace("LAST", "</s>").replace("NOT", "<|end|>")),
            ("</s>", "<|end|>"),
            "",
        ),
        # nothing: what begins the next message ends none
        (template("<|{{ m.role }}|>{{ m.content }}"), (), ""),
        (template("<|im_start|>{{ m.role }}\n{{ m.content }}"), (), ""),
        (template("<|{{ m.role }}|>{{ m.content }}\n\n", before="<s><|system|>Be good."), (), ""),
        (template("{{ m.content }}\n  "), (), ""),
        # spelled out: no token of this vocabulary, or none at once
        (template("{{ m.role }}: {{ m.content }}<|done|>\n"), (), "<|done|>"),
        (template("{{ m.content }}\n### Over\n</s>"), ("</s>",), "### Over"),
        # one question only, no replies at all
        (
            template(
                "{{ m.content }}</s>", "{% if messages | length > 2 %}{{ raise_exception('') }}{% endif %}"
            ),
            ("</s>",),
            "",
        ),
        (template("{{ raise_exception('no') if m.role == 'assistant' }}{{ m.content }}</s>"), (), ""),
        (template(by_role("{{ m.content }}</s>", "")), (), ""),
    ],
)  # fmt: skip
def test_endings(found: Template, tokens: tuple[str, ...], text: str):
    assert found.ending(NAMES) == ReplyEnding(tokens, text)


def test_no_template_ends_nothing():
    hub = PreTrainedTokenizerFast(tokenizer_object=sentencepiece_toys.backend(), eos_token="</s>")
    assert Template(hub).ending(NAMES) == ReplyEnding()
    assert not Template(hub).exists


def test_the_longest_of_several_is_found():
    assert any_of(["<a", "<a>", "b"]).findall("<a><a b") == ["<a>", "<a", "b"]
    assert not any_of([]).search("a")
