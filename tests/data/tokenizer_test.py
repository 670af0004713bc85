import copy
import pathlib
import subprocess
import sys

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import sentencepiece_toys
import smollm2
from star_jax.data.tokenizer import ByteTokenizer, HuggingFaceTokenizer, Tokenizer
from texts import LOOK_ALIKES, NASTY, SPELLABLE, questions

TOKENIZER = ByteTokenizer()
MARKUP = ByteTokenizer(["<scratch>\n", " + ", " +", "é "])
# every character but lone surrogates, which no UTF-8 text holds
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(TEXT | st.text("<scratch>\n + é"))
def test_text_survives_the_round_trip(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert MARKUP.decode(MARKUP.encode(text)) == text


@settings(deadline=None)
@given(st.lists(st.sampled_from([*MARKUP.markup, "6", "\n", "ab"])).map("".join))
def test_markup_is_a_token_and_the_longest_wins(text: str):
    rest = text
    for string in sorted(MARKUP.markup, key=len, reverse=True):
        rest = rest.replace(string, "\0")
    assert len(MARKUP.encode(text)) == len(rest.encode())


@pytest.mark.parametrize("markup", [["ab", "cd", "ab"], ["a"], [""]])
def test_markup_that_is_no_token_of_its_own_is_refused(markup: list[str]):
    with pytest.raises(ValueError, match="must be different strings of two bytes or more"):
        ByteTokenizer(markup)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_encoding_is_a_homomorphism(left: str, right: str):
    # prompt and completion are encoded apart and put together: the border must not matter
    assert TOKENIZER.encode(left) + TOKENIZER.encode(right) == TOKENIZER.encode(left + right)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", []), ("\0", [3]), ("A:", [68, 61]), ("é", [0xC3 + 3, 0xA9 + 3])],
)
def test_ids(text: str, ids: list[int]):
    assert TOKENIZER.encode(text) == ids


def test_ids_of_markup_come_after_the_bytes():
    assert MARKUP.encode("6 + 2 +é <scratch>\n") == [57, 260, 53, 261, 262, 259]
    assert MARKUP.vocab_size == 263


def test_no_text_encodes_to_a_special_token():
    every_byte = TOKENIZER.encode("".join(map(chr, range(0x800))))
    assert {TOKENIZER.pad_id, TOKENIZER.bos_id, TOKENIZER.eos_id}.isdisjoint(every_byte)


def test_decoding_drops_special_tokens():
    assert TOKENIZER.decode([1, *TOKENIZER.encode("8 8"), 2, 0, *TOKENIZER.encode(" 3")]) == "8 8 3"


def test_decoding_replaces_what_is_not_utf8():
    assert TOKENIZER.decode([0xC3 + 3, *TOKENIZER.encode("x")]) == "\ufffdx"


@pytest.mark.parametrize("token", [-1, 259])
def test_decoding_refuses_what_is_no_token(token: int):
    with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 259"):
        TOKENIZER.decode([token])


def test_token_bytes_are_what_decoding_joins():
    table = TOKENIZER.token_bytes()
    assert len(table) == TOKENIZER.vocab_size
    assert table[:3] == [b"", b"", b""]
    assert sorted(table[3:]) == [bytes([byte]) for byte in range(256)]
    assert b"".join(table[token] for token in TOKENIZER.encode("6 2é")) == "6 2é".encode()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run's folder with the tokenizer `MARKUP`."""
    run = tmp_path_factory.mktemp("run")
    MARKUP.save(run / "tokenizer")
    (run / "checkpoints" / "rounds" / "3").mkdir(parents=True)
    return run


@pytest.fixture(scope="module", params=["", "checkpoints/rounds/3"])
def opened(saved: pathlib.Path, request: pytest.FixtureRequest) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.open(saved / request.param)


@settings(deadline=None)
@given(TEXT | st.lists(st.sampled_from(["<scratch>\n", " + ", "é ", "+", " "])).map("".join))
def test_what_is_saved_has_the_same_ids(opened: HuggingFaceTokenizer, text: str):
    assert (opened.pad_id, opened.bos_id, opened.eos_id) == (0, 1, 2)
    assert opened.token_bytes() == MARKUP.token_bytes()
    ids = MARKUP.encode(text)
    assert opened.encode(text) == ids and opened.decode(ids) == text


def test_transformers_opens_what_is_saved(saved: pathlib.Path):
    theirs = AutoTokenizer.from_pretrained(saved / "tokenizer")
    for text in [*NASTY, "<scratch>\n1 + 2 +3 é "]:
        if not any(f"<{name}>" in text for name in ("pad", "bos", "eos")):
            ids = MARKUP.encode(text)
            assert theirs(text).input_ids == [1, *ids] and theirs.decode(ids) == text
    assert theirs.convert_tokens_to_ids(["<pad>", "<bos>", "<eos>"]) == [0, 1, 2]


def test_both_are_tokenizers():
    both: list[Tokenizer] = [TOKENIZER, smollm2.tokenizer()]  # for pyright
    assert [tokenizer.eos_id for tokenizer in both] == [2, 2]


def test_importing_it_imports_neither_jax_nor_transformers():
    program = (
        "import sys, star_jax.data.tokenizer, star_jax.data.prompts\n"
        "print([x for x in ('jax', 'transformers', 'tokenizers', 'torch') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture(scope="module")
def theirs():
    """SmolLM2's tokenizer as transformers opens it."""
    return AutoTokenizer.from_pretrained(smollm2.folder())


class TestSmolLM2:
    def test_facts(self):
        tokenizer = smollm2.tokenizer()
        assert tokenizer.vocab_size == 49_152
        # it knows <|im_start|>, but puts nothing before a document
        assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (2, None, 2)
        assert tokenizer.eos_ids == (2,)
        assert tokenizer.chats
        assert tokenizer.name(2) == "<|im_end|>"
        assert tokenizer.token_bytes()[:17] == [b""] * 17
        assert all(tokenizer.token_bytes()[17:])

    def test_ids_are_those_of_transformers(self, theirs):
        tokenizer = smollm2.tokenizer()
        texts = questions(1000) + NASTY
        assert len(texts) > 1000
        for text in texts:
            assert tokenizer.encode(text) == theirs(text, add_special_tokens=False).input_ids, text

    def test_what_looks_like_a_special_token_is_text(self, theirs):
        tokenizer = smollm2.tokenizer()
        special = set(theirs.all_special_ids) | set(range(17))
        for text in LOOK_ALIKES:
            ids = tokenizer.encode(text)
            assert special.isdisjoint(ids)
            assert tokenizer.decode(ids) == text
            plain = theirs(text, add_special_tokens=False, split_special_tokens=True)
            assert ids == plain.input_ids

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([*LOOK_ALIKES, "<", "|", ">", "im_end", "a "])).map("".join))
    def test_no_text_becomes_a_special_token(self, text: str):
        assert all(id_ >= 17 for id_ in smollm2.tokenizer().encode(text))

    @settings(deadline=None)
    @given(SPELLABLE)
    def test_tokens_join_to_the_text_byte_by_byte(self, text: str):
        tokenizer = smollm2.tokenizer()
        table, ids = tokenizer.token_bytes(), tokenizer.encode(text)
        assert b"".join(table[id_] for id_ in ids) == text.encode()
        assert tokenizer.decode(ids) == text

    @pytest.mark.parametrize(
        ("text", "kept"), [("a\x04b", b"ab"), ("\x1d", b""), ("\U00040000", b"\x80\x80\x80")]
    )
    def test_bytes_without_a_token_are_dropped_as_in_transformers(
        self, theirs, text: str, kept: bytes
    ):
        tokenizer = smollm2.tokenizer()
        assert {4, 0x1D, 0xF1} < tokenizer.missing_bytes
        ids = tokenizer.encode(text)
        assert ids == theirs(text, add_special_tokens=False).input_ids
        assert b"".join(tokenizer.token_bytes()[id_] for id_ in ids) == kept

    @settings(deadline=None)
    @given(SPELLABLE | st.just("né 👩‍👩‍👧‍👦 日本"), st.integers(0, 40))
    def test_cut_inside_a_character_the_rest_is_marked(self, text: str, count: int):
        tokenizer = smollm2.tokenizer()
        ids = tokenizer.encode(text)[:count]
        table = tokenizer.token_bytes()
        joined = b"".join(table[id_] for id_ in ids)
        assert tokenizer.decode(ids) == joined.decode(errors="replace")
        whole = joined.decode(errors="ignore")
        assert tokenizer.decode(ids) in (whole, whole + "\ufffd")
        assert text.startswith(whole)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 49_151), max_size=20))
    def test_any_ids_decode_as_in_transformers(self, theirs, ids: list[int]):
        assert smollm2.tokenizer().decode(ids) == theirs.decode(ids, skip_special_tokens=True)

    def test_decoding_drops_special_tokens(self):
        tokenizer = smollm2.tokenizer()
        assert tokenizer.decode([1, *tokenizer.encode("8 8"), 2, 0]) == "8 8"

    @pytest.mark.parametrize("token", [-1, 49_152])
    def test_decoding_refuses_what_is_no_token(self, token: int):
        with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 49152"):
            smollm2.tokenizer().decode([token])


USER, SYSTEM = {"role": "user", "content": " 2 + 2?\n"}, {"role": "system", "content": "Be brief."}
REPLY = {"role": "assistant", "content": "4"}


class TestChat:
    @pytest.mark.parametrize("reply", [True, False])
    @pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], [USER, REPLY, USER]])
    def test_ids_are_those_of_transformers(self, theirs, messages, reply: bool):
        expected = theirs.apply_chat_template(messages, add_generation_prompt=reply).input_ids
        assert smollm2.tokenizer().chat(messages, reply) == expected

    def test_gsm8k(self, theirs):
        for question in questions(100):
            messages = [{"role": "user", "content": question}]
            expected = theirs.apply_chat_template(messages, add_generation_prompt=True).input_ids
            assert smollm2.tokenizer().chat(messages) == expected

    @settings(deadline=None)
    @given(
        st.lists(
            st.sampled_from([*LOOK_ALIKES, "a ", "\n", "\ue000", "\ue0002\ue000", "7"]), max_size=6
        ).map("".join)
    )
    def test_a_message_holds_no_special_token(self, text: str):
        tokenizer = smollm2.tokenizer()
        ids = tokenizer.chat([SYSTEM, {"role": "user", "content": text}])
        # those of the template alone: <|im_start|> and <|im_end|> around what is said
        assert [id_ for id_ in ids if id_ < 17] == [1, 2, 1, 2, 1]
        head, tail = "system\nBe brief.\nuser\n", "\nassistant\n"
        assert tokenizer.decode(ids) == f"{head}{text}{tail}"
        inside = ids[ids.index(2) + 3 :]
        assert tokenizer.decode(inside[: inside.index(2)]) == f"user\n{text}"

    def test_without_a_template_it_is_refused(self):
        with pytest.raises(ValueError, match=r"no chat template: put chat_template\.jinja beside"):
            sentencepiece_toys.tokenizer().chat([USER])

    def test_a_template_may_refuse(self, tmp_path: pathlib.Path):
        smollm2.tokenizer().save(tmp_path)
        template = "{{ raise_exception('roles must alternate') }}"
        (tmp_path / "chat_template.jinja").write_text(template)
        tokenizer = HuggingFaceTokenizer.open(tmp_path)
        with pytest.raises(ValueError, match="refuses the messages: roles must alternate"):
            tokenizer.chat([USER, USER])

    def test_a_template_that_writes_the_date_writes_the_same_one_always(
        self, tmp_path: pathlib.Path
    ):
        # a run that is resumed on another day has the prompts it had
        smollm2.tokenizer().save(tmp_path)
        template = (
            "{{ strftime_now('%d %b %Y') }}, {{ strftime_now('%Y-%m-%d') }}\n"
            "{{ messages[0].content }}"
        )
        (tmp_path / "chat_template.jinja").write_text(template)
        tokenizer = HuggingFaceTokenizer.open(tmp_path)
        assert tokenizer.chat([REPLY]) == tokenizer.encode("26 Jul 2024, 2024-07-26\n4")

    @pytest.mark.parametrize(
        "begin", ["", "\n", "\n\n ", "  {% if true %}a{% endif %}", "{# b #}\n"]
    )
    def test_templates_begin_as_in_transformers(self, tmp_path: pathlib.Path, begin: str):
        smollm2.tokenizer().save(tmp_path)
        (tmp_path / "chat_template.jinja").write_text(begin + "{{ messages[0].content }}")
        theirs = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template([REPLY]).input_ids
        assert HuggingFaceTokenizer.open(tmp_path).chat([REPLY]) == theirs


class TestFiles:
    def test_saved_and_opened_it_is_the_same(self, tmp_path: pathlib.Path):
        before = smollm2.tokenizer()
        before.save(tmp_path / "new" / "folder")
        after = HuggingFaceTokenizer.open(tmp_path / "new" / "folder")
        for text in [*questions(200), *NASTY, *LOOK_ALIKES]:
            assert after.encode(text) == before.encode(text)
        assert after.token_bytes() == before.token_bytes()
        assert after.chat([SYSTEM, USER]) == before.chat([SYSTEM, USER])
        facts = ("pad_id", "bos_id", "eos_id", "eos_ids", "vocab_size", "missing_bytes", "chats")
        assert [getattr(after, fact) for fact in facts] == [getattr(before, fact) for fact in facts]
        assert not (tmp_path / "new" / "folder" / "generation_config.json").exists()

    def test_several_ends(self, tmp_path: pathlib.Path):
        smollm2.tokenizer().save(tmp_path / "a")
        (tmp_path / "a" / "generation_config.json").write_text('{"eos_token_id": [0, 2, 5]}')
        tokenizer = HuggingFaceTokenizer.open(tmp_path / "a")
        # what a document is ended with is the tokenizer's own
        assert (tokenizer.eos_id, tokenizer.eos_ids) == (2, (2, 0, 5))
        tokenizer.save(tmp_path / "b")
        assert HuggingFaceTokenizer.open(tmp_path / "b").eos_ids == (2, 0, 5)

    def test_other_ends_of_a_folder_stay(self, tmp_path: pathlib.Path):
        written = '{"eos_token_id": [0, 2, 5], "temperature": 0.6}'
        (tmp_path / "generation_config.json").write_text(written)
        sentencepiece_toys.tokenizer(ends=[0]).save(tmp_path)
        assert (tmp_path / "generation_config.json").read_text() == written

    def test_ends_outside_of_the_vocabulary_are_refused(self, tmp_path: pathlib.Path):
        smollm2.tokenizer().save(tmp_path)
        (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 49152]}')
        with pytest.raises(ValueError, match=r"49152 ids whose texts end with \(2, 49152\): name"):
            HuggingFaceTokenizer.open(tmp_path)

    def test_a_tokenizer_without_an_end_is_refused(self):
        backend = sentencepiece_toys.backend()
        with pytest.raises(ValueError, match=r"texts end with \(\): name an eos_token in"):
            HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))

    def test_other_kinds_are_refused_by_name(self, tmp_path: pathlib.Path):
        backend = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="a").save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=f"{tmp_path}: a tokenizer of model WordPiece"):
            HuggingFaceTokenizer.open(tmp_path)


def test_truncation_and_padding_in_the_file_do_nothing():
    backend = sentencepiece_toys.backend()
    backend.enable_truncation(4)
    backend.enable_padding(length=16, pad_id=2, pad_token="</s>")
    hub = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    text = "The The The The The The"
    assert HuggingFaceTokenizer(hub).encode(text) == sentencepiece_toys.tokenizer().encode(text)


def test_added_words_that_are_not_special_stay_whole():
    backend = copy.deepcopy(smollm2.vocabulary().backend)
    backend.add_tokens([AddedToken("<think>", special=False)])
    tokenizer = HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    )
    assert tokenizer.encode("<think>é") == [49_152, *tokenizer.encode("é")]
    assert tokenizer.vocab_size == 49_153
    assert tokenizer.decode([49_152]) == "<think>"


def test_the_token_for_what_is_unknown_is_dropped():
    backend = copy.deepcopy(smollm2.vocabulary().backend)
    backend.model.unk_token = "<|endoftext|>"
    assert backend.encode("a\x04b").ids == [81, 0, 82]  # it would end the text
    tokenizer = HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    )
    assert tokenizer.encode("a\x04b") == [81, 82]
