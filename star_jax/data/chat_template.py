"""A tokenizer's chat template: what it writes of a conversation, and how it ends a reply."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

# Templates that write the date write this one, as Llama 3's do without a clock: what is resumed on
# another day has the prompts it had. The line break after a block is not written.
_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%H:%M": "12:00"}
_WRITTEN = "".join(f"|replace('{code}', '{text}')" for code, text in _DATE.items())
_TODAY = "{% macro strftime_now(format) %}{{ format" + _WRITTEN + " }}{% endmacro %}\n"


@dataclasses.dataclass(frozen=True)
class ReplyEnding:
    """What a template writes after a reply.

    Attributes:
        tokens: the first token there where the reply is the last message, then the one that ends it
            where others follow; () where there is none.
        text: what stands before that token, or all where there is none, without the space around
            it: an end that is spelled out. "" for none.
    """

    tokens: tuple[str, ...] = ()
    text: str = ""


class Template:
    """The chat template of a tokenizer of transformers.

    Attributes:
        exists: whether the tokenizer has one.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self.exists: bool = hub.chat_template is not None

    def write(self, messages: Sequence[Mapping[str, str]], reply: bool) -> str:
        """The conversation as text; with `reply`, up to where the assistant's next message begins.

        Raises:
            ValueError: there is no template, or it refuses the messages.
        """
        import jinja2

        if not self.exists:
            raise ValueError(
                "the tokenizer has no chat template: put chat_template.jinja beside its "
                "tokenizer.json, or use prompts that are not a chat"
            )
        try:
            return self._hub.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=_TODAY + self._hub.get_chat_template(),
                tokenize=False,
                add_generation_prompt=reply,
            )
        except (jinja2.TemplateError, ValueError) as error:
            raise ValueError(f"the chat template refuses the messages: {error}") from error

    def ending(self, tokens: Iterable[str]) -> ReplyEnding:
        """How the template ends a reply; nothing where there is none, or it has no replies.

        Args:
            tokens: that may end one: what the vocabulary takes whole wherever it stands.
        """
        if not self.exists:
            return ReplyEnding()
        pattern = any_of(token for token in tokens if token.strip(" \n\t▁"))
        asked, said, more = (f"{word}{len(str(self._hub.chat_template))}" for word in _WORDS)
        turns = [("user", asked), ("assistant", said), ("user", more)]
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            _, has_replies, after = self.write(messages[:2], False).rpartition(said)
        except ValueError:
            has_replies = after = ""
        if not has_replies:
            return ReplyEnding()  # who wants a chat is told when it is written
        first = pattern.search(after)
        text = (after[: first.start()] if first else after).strip()
        try:
            head, _, rest = self.write(messages, False).partition(asked)
        except ValueError:
            head = rest = ""  # it holds one question only
        between = pattern.match(rest.partition(said)[2].partition(more)[0].lstrip())
        if between and between[0] in pattern.findall(head):
            between = None  # it begins messages
        found = [match[0] for match in (first, between) if match]
        return ReplyEnding(tuple(dict.fromkeys(found)), text)


_WORDS = ("Ask", "Say", "More")  # with a number they are in no template


def any_of(tokens: Collection[str] | Iterable[str]) -> re.Pattern[str]:
    """What finds any of these strings, the longest where several fit."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
