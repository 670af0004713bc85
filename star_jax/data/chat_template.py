"""A tokenizer's chat template: renders a conversation as text, and tells how a reply ends."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

# Templates that write today's date get this one, which Llama 3's use without a clock, so that a run
# resumed on another day has the same prompts. Templates drop the line break after a block.
_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%H:%M": "12:00"}
_REPLACED = "".join(f"|replace('{code}', '{text}')" for code, text in _DATE.items())
_TODAY = "{% macro strftime_now(format) %}{{ format" + _REPLACED + " }}{% endmacro %}\n"


@dataclasses.dataclass(frozen=True)
class ReplyEnding:
    """The tokens and text that a template writes after a reply.

    Attributes:
        tokens: first token after a reply that is the last message, then, if it is another one, the
            token that ends a reply before other messages; () if there are none.
        text: text before the first token, or all text if there is no token, without the space
            around it: an end that is spelled out. "" for none.
    """

    tokens: tuple[str, ...] = ()
    text: str = ""


class Template:
    """The chat template of a transformers tokenizer.

    Attributes:
        exists: whether the tokenizer has a chat template.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self.exists: bool = hub.chat_template is not None

    def write(self, messages: Sequence[Mapping[str, str]], reply: bool) -> str:
        """Returns the conversation as text; with `reply`, plus the head of the assistant's reply.

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
        """Returns how the template ends a reply; empty without a template, or one with no replies.

        Args:
            tokens: tokens that may end a reply: those that the vocabulary keeps whole in any text.
        """
        if not self.exists:
            return ReplyEnding()
        pattern = any_of(token for token in tokens if token.strip(" \n\t▁"))
        question, answer, next_question = (
            f"{word}{len(str(self._hub.chat_template))}" for word in _WORDS
        )
        turns = [("user", question), ("assistant", answer), ("user", next_question)]
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            _, has_replies, after = self.write(messages[:2], False).rpartition(answer)
        except ValueError:
            has_replies = after = ""
        if not has_replies:
            return ReplyEnding()  # `write` raises the error, if a chat is wanted
        first = pattern.search(after)
        text = (after[: first.start()] if first else after).strip()
        try:
            head, _, rest = self.write(messages, False).partition(question)
        except ValueError:
            head = rest = ""  # the template allows one question only
        between = pattern.match(rest.partition(answer)[2].partition(next_question)[0].lstrip())
        if between and between[0] in pattern.findall(head):
            between = None  # this token begins messages
        ends = [match[0] for match in (first, between) if match]
        return ReplyEnding(tuple(dict.fromkeys(ends)), text)


_WORDS = ("Ask", "Say", "More")  # with a number after them, no template holds them


def any_of(tokens: Collection[str] | Iterable[str]) -> re.Pattern[str]:
    """Returns a pattern that finds any of these strings, the longest if several fit."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
