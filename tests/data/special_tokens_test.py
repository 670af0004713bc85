"""Tokens that no text holds: named as ends, and not flagged as special by the vocabulary."""

import copy
import json

import pytest
import tokenizers
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

import sentencepiece_toys
import smollm2
from star_jax.data import special_tokens
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.inference.stop_rule import make_stop_rule


def backend() -> tokenizers.Tokenizer:
    """SmolLM2's, with words of its own that are added and not special: 49152 and 49153."""
    made = copy.deepcopy(smollm2.vocabulary().backend)
    made.add_tokens([AddedToken(x, special=False, normalized=False) for x in ("<|over|>", "<hm>")])
    return made


def opened(made: tokenizers.Tokenizer, *ends: int) -> HuggingFaceTokenizer:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|over|>\n\n{% endfor %}"
    return HuggingFaceTokenizer(
        PreTrainedTokenizerFast(
            tokenizer_object=made, eos_token="<|im_end|>", chat_template=template
        ),
        ends,
    )


def id_of(text: str) -> int:
    [found] = smollm2.tokenizer().encode(text)
    return found


# what ends texts: an added token that is not special; ordinary words, in the two ways they are spelled
ENDS = {"<|over|>": 49_152, " the": id_of(" the"), "\n\n": id_of("\n\n"), "END": id_of("END")}


@pytest.mark.parametrize(("text", "end"), ENDS.items())
@pytest.mark.parametrize("around", ["{}", "a{}b", "8 8{}", "{}{}\n"])
def test_an_end_is_part_of_no_text(text: str, end: int, around: str):
    tokenizer, text = opened(backend(), end), around.replace("{}", text)
    assert end in tokenizer.eos_ids and end in opened(backend(), end).named_ends
    ids = tokenizer.encode(text)
    assert end not in ids, "spelled out"
    assert tokenizer.decode(ids) == text, "and nothing of it lost"
    assert tokenizer.decode([*ids, end]) == text, "written as the end it is nothing"
    table = tokenizer.token_bytes()
    assert table[end] == b"" and b"".join(table[id_] for id_ in ids) == text.encode()
    stop = make_stop_rule(tokenizer.eos_ids, "", table, len(table))
    assert stop.token_bytes.lengths[end] == 0, "nor on the device"


@pytest.mark.parametrize(("text", "end"), ENDS.items())
def test_no_message_closes_a_turn_by_spelling_it(text: str, end: int):
    tokenizer = opened(backend(), end)
    message = {"role": "user", "content": f"Say {text}{text} now"}
    plain = tokenizer.chat([{"role": "user", "content": "Say now"}])
    assert tokenizer.chat([message]).count(49_152) == plain.count(49_152) == 1
    assert tokenizer.chat([message]).count(end) == plain.count(end)
    assert tokenizer.decode(tokenizer.chat([message])) == f"user: Say {text}{text} now\n\n"


def test_other_added_words_stay_words():
    tokenizer = opened(backend(), 49_152)
    assert tokenizer.encode("<hm>") == [49_153] and tokenizer.decode([49_153]) == "<hm>"


def test_merges_of_sentencepiece_may_come_to_an_end():
    made = sentencepiece_toys.backend("")
    end = made.token_to_id("The")
    hub = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    assert end in sentencepiece_toys.tokenizer("").encode("a The TheThe")[3:]
    tokenizer = HuggingFaceTokenizer(hub, [end])
    ids = tokenizer.encode("a The TheThe")
    assert end not in ids and tokenizer.decode(ids) == "a The TheThe"


def test_what_texts_cannot_do_without_ends_none():
    with pytest.raises(
        ValueError, match=r"'Ċ' ends texts, and is also a character that .*sampler.stop"
    ):
        opened(backend(), id_of("\n"))


def test_a_tokenizer_that_flags_its_ends_is_not_copied():
    made = smollm2.vocabulary().backend
    found = special_tokens.find(made, [2, 0])
    assert found.backend is made and not found.spelled and not found.words
    assert found.names[2] == "<|im_end|>" and len(found.names) == 17


def test_an_end_without_a_name_is_an_end_all_the_same():
    made = backend()
    made.add_tokens([AddedToken("<later>", special=False)])
    flags = json.loads(made.to_str())
    flags["added_tokens"] = [x for x in flags["added_tokens"] if x["id"] != 49_153]
    found = opened(tokenizers.Tokenizer.from_str(json.dumps(flags)), 49_153)
    assert found.eos_ids[:2] == (2, 49_153) and found.decode([49_153]) == ""


def test_what_is_saved_is_as_it_was(tmp_path):
    opened(backend(), 49_152).save(tmp_path)
    again = HuggingFaceTokenizer.open(tmp_path)
    assert again.eos_ids == (2, 49_152)
    flags = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert not flags.get_added_tokens_decoder()[49_152].special
