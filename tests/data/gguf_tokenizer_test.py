"""The tokenizer of a GGUF file, of SmolLM2's and of small ones written here."""

import importlib
import math
import pathlib

import gguf
import pytest
import regex
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

import smollm2
from star_jax.data import gguf_tokenizer
from star_jax.data.gguf_tokenizer import CUTS, open_vocabulary
from star_jax.data.token_bytes import byte_alphabet
from star_jax.storage import gguf_header
from texts import questions, solutions

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


def write(path: pathlib.Path, **fields) -> pathlib.Path:
    """A GGUF file with these fields under tokenizer.ggml, by llama.cpp's own writer."""
    writer = gguf.GGUFWriter(path, fields.pop("architecture", "llama"))
    if template := fields.pop("template", None):
        writer.add_chat_template(template)
    for name, value in fields.items():
        key = f"tokenizer.ggml.{name}"
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def byte_level(**changes) -> dict:
    tokens = [*byte_alphabet(), "Ġa", "ab", "<|end|>", "<think>"]
    fields = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [NORMAL] * 258 + [CONTROL, USER],
        "merges": ["Ġ a", "a b"],
        "eos_token_id": 258,
    }
    return {key: value for key, value in (fields | changes).items() if value is not None}


def sentencepiece(**changes) -> dict:
    words = ["▁", "a", "b", "▁a", "▁ab", "ab", "<", "s", ">", "s>", "  "]
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *words]
    scores = [0.0] * 259 + [-9.0, -9.0, -9.0, -2.0, -3.0, -1.0, -9.0, -9.0, -9.0, -4.0, -5.0]
    fields = {
        "model": "llama",
        "tokens": tokens,
        "scores": scores,
        "token_type": [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * 10 + [USER],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return {key: value for key, value in (fields | changes).items() if value is not None}


def spelled(backend: tokenizers.Tokenizer, text: str) -> list[str]:
    return backend.encode(text, add_special_tokens=False).tokens


class TestDamage:
    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_damage_is_refused_or_harmless(self, tmp_path_factory, data: st.DataObject):
        path = tmp_path_factory.getbasetemp() / "damaged.gguf"
        raw = bytearray(write(path, **byte_level()).read_bytes())
        place = data.draw(st.integers(0, 1000) | st.integers(0, len(raw) - 1))
        raw[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(raw)
        try:
            open_vocabulary(path)
        except ValueError as error:
            assert str(path) in str(error)

    def test_a_missing_file_is_missing(self, tmp_path: pathlib.Path):
        with pytest.raises(FileNotFoundError):
            open_vocabulary(tmp_path / "a.gguf")


class TestByteLevel:
    def test_merges_control_and_user_tokens(self, tmp_path: pathlib.Path):
        found = open_vocabulary(write(tmp_path / "a.gguf", **byte_level()))
        assert spelled(found.backend, " ab<think>é") == ["Ġa", "b", "<think>", "Ã", "©"]
        added = found.backend.get_added_tokens_decoder()
        assert {id_: token.special for id_, token in added.items()} == {258: True, 259: False}
        assert found.special == {"eos_token": "<|end|>"}
        assert found.ends == (258,)
        assert found.template is None

    @pytest.mark.parametrize(
        ("pre", "words"),
        [
            ("gpt-2", ["it", "'s", "Ġ1234", "ĊĊ", "Ġa", "'T"]),
            ("smollm", ["it", "'s", "Ġ", "1", "2", "3", "4", "ĊĊ", "Ġa", "'T"]),
            ("llama-bpe", ["it", "'s", "Ġ", "123", "4", "ĊĊ", "Ġa", "'T"]),
            ("qwen2", ["it", "'s", "Ġ", "1", "2", "3", "4", "ĊĊ", "Ġa", "'T"]),
        ],
    )
    def test_words_are_cut_as_the_name_says(self, tmp_path: pathlib.Path, pre: str, words):
        backend = open_vocabulary(write(tmp_path / "a.gguf", **byte_level(pre=pre))).backend
        assert backend.pre_tokenizer is not None
        text = "it's 1234\n\n a'T"
        found = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        if pre in ("gpt-2", "smollm"):  # they know "'s" but not "'T"
            words = [*words[:-1], "'", "T"]
        assert found == words

    def test_words_that_are_tokens_are_whole_in_llama_3(self, tmp_path: pathlib.Path):
        changes = {"tokens": [*byte_alphabet(), "xyz", "ab"], "token_type": None, "merges": ["a b"]}
        for pre, expected in (("llama-bpe", ["xyz"]), ("qwen2", ["x", "y", "z"])):
            fields = byte_level(pre=pre, eos_token_id=257, **changes)
            backend = open_vocabulary(write(tmp_path / "a.gguf", **fields)).backend
            assert spelled(backend, "xyz") == expected

    def test_qwen_composes_characters(self, tmp_path: pathlib.Path):
        backend = open_vocabulary(write(tmp_path / "a.gguf", **byte_level(pre="qwen2"))).backend
        assert spelled(backend, "e\u0301") == ["Ã", "©"]

    @pytest.mark.parametrize(
        ("changes", "begins"),
        [
            ({}, False),
            ({"add_bos_token": True}, True),
            ({"pre": "llama-bpe"}, True),
            ({"pre": "llama-bpe", "add_bos_token": False}, False),
        ],
    )
    def test_how_documents_begin(self, tmp_path: pathlib.Path, changes, begins: bool):
        fields = byte_level(bos_token_id=258, **changes)
        backend = open_vocabulary(write(tmp_path / "a.gguf", **fields)).backend
        assert backend.encode("b").ids == [258] * begins + [backend.token_to_id("b")]

    def test_every_end_of_a_turn_is_an_end(self, tmp_path: pathlib.Path):
        fields = byte_level(eot_token_id=259, eom_token_id=257, template="{{ messages }}")
        found = open_vocabulary(write(tmp_path / "a.gguf", **fields))
        assert found.ends == (258, 259, 257)
        assert found.template == "{{ messages }}"


class TestSentencePiece:
    def test_merges_follow_the_scores(self, tmp_path: pathlib.Path):
        found = open_vocabulary(write(tmp_path / "a.gguf", **sentencepiece()))
        # "ab" scores best, then "▁ab" of "▁" and "ab"
        assert spelled(found.backend, "ab") == ["▁ab"]
        assert spelled(found.backend, "a b") == ["▁a", "▁", "b"]
        assert spelled(found.backend, "é") == ["▁", "<0xC3>", "<0xA9>"]
        assert found.backend.encode("a").tokens == ["<s>", "▁a"]

    def test_gemmas_merges_follow_the_list(self, tmp_path: pathlib.Path):
        fields = sentencepiece(architecture="gemma2", scores=None, add_space_prefix=False)
        backend = open_vocabulary(write(tmp_path / "a.gguf", **fields)).backend
        assert spelled(backend, " ab") == ["▁ab"]  # "▁a" comes first, "▁ab" of "▁a" and "b" next
        assert spelled(backend, "ab") == ["ab"]
        assert spelled(backend, "a  b") == ["a", "▁▁", "b"]  # a token that its maker defined

    def test_no_text_becomes_a_control_token(self, tmp_path: pathlib.Path):
        backend = open_vocabulary(write(tmp_path / "a.gguf", **sentencepiece())).backend
        backend.encode_special_tokens = True
        assert spelled(backend, "<s>") == ["▁", "<", "s>"]

    def test_listed_merges_are_taken(self, tmp_path: pathlib.Path):
        fields = sentencepiece(merges=["▁ a", "▁a b"], scores=None)
        assert spelled(open_vocabulary(write(tmp_path / "a.gguf", **fields)).backend, "ab") == [
            "▁ab"
        ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (byte_level(pre="poro-chat"), "tokenizer.ggml.pre = 'poro-chat' is not known"),
        (byte_level(pre=None), "no 'tokenizer.ggml.pre' in its metadata"),
        (byte_level(model="bert"), "tokenizer.ggml.model = 'bert' is not known"),
        (byte_level(model=None), "no 'tokenizer.ggml.model' in its metadata"),
        (byte_level(tokens=None), "no 'tokenizer.ggml.tokens' in its metadata"),
        (byte_level(merges=None), "no 'tokenizer.ggml.merges' in its metadata"),
        (byte_level(merges=["a b", "a"]), "merges: 'a' does not make a token of two others"),
        (byte_level(merges=["a c"]), "merges: 'a c' does not make a token of two others"),
        (byte_level(token_type=[1, 1]), "tokenizer.ggml.token_type: 2 for 260 tokens"),
        (byte_level(tokens=["a", "a"], token_type=None), "tokenizer.ggml.tokens: the same token"),
        (byte_level(eos_token_id=260), "eos_token_id = 260 is outside its 260 tokens"),
        (byte_level(eos_token_id=1.5), "its metadata is damaged (list indices must be integers"),
        (byte_level(tokens=7), "its metadata is damaged ("),
        (byte_level(merges=7), "its metadata is damaged ('int' object is not iterable)"),
        (sentencepiece(scores=None), "no 'tokenizer.ggml.scores' in its metadata"),
        (sentencepiece(scores=[0.5]), "tokenizer.ggml.scores: 1 for 270 tokens"),
        (sentencepiece(merges=["a b c"]), "merges: 'a b c' does not make a token"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: pathlib.Path, fields, message: str):
    path = write(tmp_path / "model.gguf", **fields)
    with pytest.raises(ValueError, match=r"model\.gguf: ") as caught:
        open_vocabulary(path)
    assert message in str(caught.value)


class Reference:
    """Byte-level BPE over the tokens and merges of a GGUF file, from its definition."""

    def __init__(self, path: pathlib.Path) -> None:
        metadata = gguf_header.read(path).metadata
        tokens = metadata["tokenizer.ggml.tokens"]
        self.ids = {token: id_ for id_, token in enumerate(tokens)}
        merges = metadata["tokenizer.ggml.merges"]
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self.chars = {byte: char for char, byte in byte_alphabet().items()}

    def encode(self, text: str) -> list[int]:
        # every digit is a word by itself; in between, GPT-2's pattern
        found = []
        for stretch in regex.findall(r"\p{N}|\P{N}+", text):
            for word in regex.findall(
                r"'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", stretch
            ):
                found += self._merge([self.chars[byte] for byte in word.encode()])
        return [self.ids[piece] for piece in found]

    def _merge(self, pieces: list[str]) -> list[str]:
        while True:
            pairs = list(zip(pieces, pieces[1:], strict=False))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, math.inf), default=None)
            if best not in self.ranks:
                return pieces
            at, merged = 0, []
            while at < len(pieces):
                whole = tuple(pieces[at : at + 2]) == best
                merged.append("".join(pieces[at : at + 1 + whole]))
                at += 1 + whole
            pieces = merged


class TestSmolLM2:
    def test_ids_are_those_of_its_tokens_and_merges(self):
        reference, backend = Reference(smollm2.gguf()), smollm2.vocabulary().backend
        texts = (
            questions(200)
            + solutions(200)
            + ["a  12", "x = 10\n  20\n\n3", "they'll  we'd I'M", "né — ﬁ \u3000½①", "\t\r\n  "]
        )
        for text in texts:
            assert backend.encode(text).ids == reference.encode(text), text

    def test_transformers_cuts_digits_as_gpt_2_does(self):
        """The reason for `CUTS`. If this fails, transformers has learned the name "smollm"."""
        name = "transformers.integrations.gguf.gguf_tokenizer_mapping"
        theirs = importlib.import_module(name)
        prefix = "tokenizer.ggml."
        fields = {
            key.removeprefix(prefix): value
            for key, value in gguf_header.read(smollm2.gguf()).metadata.items()
        }
        names = {"tokenizer_type": "model", "pre_tokenizer_type": "pre"}
        fields |= {name: fields[short] for name, short in names.items()}
        backend, _ = theirs.convert_gguf_tokenizer("llama", fields)
        ours = smollm2.vocabulary().backend
        spaced = "Ada bought  2 pears"  # two spaces, as eight of GSM8K's first 1,000 questions have
        assert backend.encode(spaced).tokens[3:6] == ["Ġ", "Ġ", "2"]
        assert ours.encode(spaced).tokens[3:5] == ["ĠĠ", "2"]
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
        )
        for text in (spaced, *questions(1000)):
            assert backend.encode(text).ids == ours.encode(text).ids


def test_every_name_of_the_table_has_a_cut_that_keeps_all_text():
    for name, cut in CUTS.items():
        pattern = regex.compile(cut.pattern)
        for text in ("a1 \n\t\u3000'S 12345  né_\r\n!", " ", "\n\n  x"):
            assert "".join(pattern.findall(text)) == text, name


def test_merges_of_the_same_score_take_the_longer_head_first():
    tokens = ["a", "b", "ab", "bb", "abb", "<s>", "x"]
    kinds, scores = [1, 1, 1, 1, 1, 3, 1], [-1.0, -1.0, -2.0, -4.0, -3.0, 0.0, -math.inf]
    merges = gguf_tokenizer._merges(tokens, kinds, scores)
    assert merges == [("a", "b"), ("ab", "b"), ("a", "bb"), ("b", "b")]
