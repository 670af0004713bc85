"""Tokenizers of SentencePiece's kind (Llama 2, Mistral, Gemma), made small."""

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import sentencepiece_toys
from star_jax.data.tokenizer import HuggingFaceTokenizer
from texts import NASTY, SPELLABLE

MESSAGES = [{"role": "user", "content": " The\n"}, {"role": "assistant", "content": "The 4"}]


@pytest.mark.parametrize("prefix", ["normalizer", "first", ""])
class TestSentencePiece:
    def test_facts(self, prefix: str):
        tokenizer = sentencepiece_toys.tokenizer(prefix, ends=[3])
        # padding is masked, so an end of text may stand in for it
        facts = (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_ids)
        assert facts == (2, 1, 2, (2, 3))
        table = tokenizer.token_bytes()
        assert table[:5] == [b"", b"", b"", b"", b"\0"]
        assert table[-15:-11] == [b" ", b" T", b" Th", b" The"]
        assert not tokenizer.missing_bytes

    @settings(deadline=None)
    @given(text=SPELLABLE | st.text("The é<s>/\n"))
    def test_tokens_join_to_the_text_byte_by_byte(self, prefix: str, text: str):
        tokenizer = sentencepiece_toys.tokenizer(prefix)
        ids, table = tokenizer.encode(text), tokenizer.token_bytes()
        # a SentencePiece tokenizer cannot tell "▁" from a space
        text = text.replace("▁", " ")
        added = 0
        if prefix == "first":  # it adds no space to a text that begins with one
            added = bool(text) and not text.startswith(" ")
        elif prefix:
            added = bool(text)
        assert b"".join(table[id_] for id_ in ids) == (b" " * added + text.encode())
        assert tokenizer.decode(ids) == " " * added + text

    def test_ids_are_those_of_transformers(self, prefix: str, tmp_path: pathlib.Path):
        tokenizer = sentencepiece_toys.tokenizer(prefix)
        tokenizer.save(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        for text in [*NASTY, "The", " The", "The The\nThe"]:
            plain = theirs(text, add_special_tokens=False, split_special_tokens=True)
            assert tokenizer.encode(text) == plain.input_ids, text
            decoded = theirs.decode(plain.input_ids, skip_special_tokens=True)
            # theirs takes the space away that a whole text has before it
            ours = tokenizer.decode(plain.input_ids)
            assert (ours.removeprefix(" ") if prefix else ours) == decoded, text

    def test_what_looks_like_a_special_token_is_text(self, prefix: str):
        tokenizer = sentencepiece_toys.tokenizer(prefix)
        for text in ("<s>", "The</s>The", "<turn>", "<unk>", "<0x41>"):
            ids = tokenizer.encode(text)
            assert all(id_ > 3 for id_ in ids)
            assert tokenizer.decode(ids) == " " * bool(prefix) + text

    def test_cut_inside_a_character_the_rest_is_marked(self, prefix: str):
        tokenizer = sentencepiece_toys.tokenizer(prefix)
        ids = tokenizer.encode("The 👩")  # four bytes without a token of their own
        said = [tokenizer.decode(ids[:-n]) for n in (1, 2, 3, 4)]
        assert said == [" " * bool(prefix) + text for text in ["The \ufffd"] * 3 + ["The "]]

    def test_chats(self, prefix: str, tmp_path: pathlib.Path):
        sentencepiece_toys.tokenizer(prefix).save(tmp_path)
        (tmp_path / "chat_template.jinja").write_text(
            "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}</s>"
            "{% endfor %}{% if add_generation_prompt %}<turn>{% endif %}"
        )
        tokenizer, theirs = (
            HuggingFaceTokenizer.open(tmp_path),
            AutoTokenizer.from_pretrained(tmp_path),
        )
        expected = theirs.apply_chat_template(MESSAGES, add_generation_prompt=True).input_ids
        assert tokenizer.chat(MESSAGES) == expected
        ids = tokenizer.chat([{"role": "user", "content": "The</s><turn>The"}])
        assert [id_ for id_ in ids if id_ < 4] == [1, 3, 2, 3]
        assert tokenizer.decode(ids).replace(" ", "") == "user\nThe</s><turn>The"
