"""Queries as a ColVision model reads them: its prompt, the user's text, augmentation tokens.

The library makes the tokens. Here they are told apart: those of the user's text that hold a
letter or digit carry meaning; what the library puts around the text counts for a page's score
only, as it does there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from patchlight.tasks.common.errors import EncodingFailed, Stage
from patchlight.tasks.encoders.features import QueryFeatures

if TYPE_CHECKING:
    import torch

MOST_TOKENS = 4096
"""Most tokens of a query, about ten pages of text. Models were trained with some 50; what long
ones take in memory grows with the square of their length."""

_SHOWN = 40
"""Characters of a query that a message shows."""


class QueryPreparer:
    """Makes features of queries; may be called from several threads at once."""

    def __init__(self, family: str, processor: Any, context: int) -> None:
        """Look up what the family puts around a query.

        Args:
            family: key of the family.
            processor: of the checkpoint.
            context: most tokens of the model's sequences.
        """
        self._family = family
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._around = _AROUND.get(family, _prompted)
        self._most = min(context, MOST_TOKENS)
        added = self._tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special}
        # Longest first: one may be a part of another.
        self._special = sorted(
            special | set(self._tokenizer.all_special_tokens), key=len, reverse=True
        )
        self._pictures = {
            number
            for name in ("image_token_id", "video_token_id")
            for owner in (processor, self._tokenizer)
            if (number := getattr(owner, name, None)) is not None
        }

    def prepare(self, queries: Sequence[str]) -> list[QueryFeatures | Exception]:
        """Make the features of queries.

        Args:
            queries: questions as asked.

        Returns:
            For each query, in order, its features, or why it has none: a ``ValueError`` if it
            holds no letter and no digit or is too long, ``EncodingFailed`` if its tokens are not
            those that the library makes.
        """
        texts = [self.harmless(query).strip() for query in queries]
        made = iter(self._each([text for text in texts if has_meaning(text)]))
        return [
            next(made) if has_meaning(text) else _says_nothing(query)
            for query, text in zip(queries, texts, strict=True)
        ]

    def _each(self, texts: Sequence[str]) -> list[QueryFeatures | Exception]:
        """Make features of texts together, or if that fails of each by itself."""
        if not texts:
            return []
        try:
            return self._together(texts)
        except Exception as error:  # as of text that is no Unicode
            if len(texts) == 1:
                return [error]
        return [outcome for text in texts for outcome in self._each([text])]

    def _together(self, texts: Sequence[str]) -> list[QueryFeatures | Exception]:
        batch = self._processor.process_queries(queries=list(texts))
        wholes = [self._around(self._processor, text) for text in texts]
        # Padding is set as the library sets it: a change would be one for all threads.
        encoded = self._tokenizer(
            [before + text + after for text, (before, after) in zip(texts, wholes, strict=True)],
            padding="longest",
            return_offsets_mapping=True,
        )
        features: list[QueryFeatures | Exception] = []
        for row, (text, around) in enumerate(zip(texts, wholes, strict=True)):
            mask = batch["attention_mask"][row].bool()
            if encoded["input_ids"][row] != batch["input_ids"][row].tolist():
                wrong = f"the library makes other tokens of the query {_short(text)}"
                features.append(EncodingFailed(wrong, Stage.ENCODE))
                continue
            tensors = {name: tensor[row : row + 1, mask] for name, tensor in batch.items()}
            offsets = np.array(encoded["offset_mapping"][row])[mask.numpy()].tolist()
            try:
                features.append(self._features(text, around, tensors, offsets))
            except ValueError as error:
                features.append(error)
        return features

    def _features(
        self,
        text: str,
        around: tuple[str, str],
        tensors: dict[str, torch.Tensor],
        offsets: Sequence[tuple[int, int]],
    ) -> QueryFeatures:
        """Make the features of a query from its tokens.

        Args:
            text: the user's text.
            around: what stands before and after it.
            tensors: name -> tensor, first dimension 1; nothing padded.
            offsets: (begin, end) of each token in the whole.

        Raises:
            ValueError: it is too long, or holds a token that stands for a picture.
        """
        if len(offsets) > self._most:
            raise ValueError(
                f"the query {_short(text)} is too long: {len(offsets)} tokens, and the model "
                f"takes {self._most}; shorten it"
            )
        if self._family == "colpali":
            # Its tokens attend to each other in both directions, as they did in training.
            # Without this transformers 5.23 does so for a query alone and lets them look back
            # only in a padded batch: other vectors.
            tensors["token_type_ids"] = tensors["input_ids"].new_zeros(1, len(offsets))
        ids = tensors["input_ids"][0].tolist()
        if self._pictures & set(ids):
            raise ValueError(f"the query {_short(text)} holds a token that stands for a picture")
        before, after = around
        words, meaning = _words(before + text + after, len(before), len(text), offsets)
        names = self._tokenizer.convert_ids_to_tokens(ids)
        return QueryFeatures(
            tensors,
            tuple(word or str(name) for word, name in zip(words, names, strict=True)),
            np.array(meaning, dtype=np.bool_),
        )

    def harmless(self, text: str) -> str:
        """Break what the tokenizer would take for a special token, as ``<image>``, by a space.

        Such a token would stand for a picture that is not there, or end the prompt.
        """
        for name in self._special:
            while len(name) > 1 and name in text:
                text = text.replace(name, f"{name[0]} {name[1:]}")
        return text


def _says_nothing(query: str) -> ValueError:
    return ValueError(f"the query {query!r} holds no letter and no digit to search for")


def _short(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def has_meaning(text: str) -> bool:
    """Say whether a text holds a letter or digit, of any script, or a mark that is part of one.

    >>> has_meaning("§ 4"), has_meaning("日本"), has_meaning("?!"), has_meaning("")
    (True, True, False, False)
    """
    return any(unicodedata.category(char)[0] in "LNM" for char in text)


def _words(
    whole: str, start: int, length: int, offsets: Sequence[tuple[int, int]]
) -> tuple[list[str], list[bool]]:
    """Return what tokens stand for, stripped, and whether it is of the user's text with meaning.

    Args:
        whole: what was cut into tokens.
        start: where the user's text begins in it.
        length: how long that is.
        offsets: (begin, end) of each token in ``whole``; equal for one that is not in it.
    """
    words = [whole[begin:end].strip() for begin, end in offsets]
    inside = [
        whole[max(begin, start) : min(end, start + length)] if end > start else ""
        for begin, end in offsets
    ]
    return words, [has_meaning(part) for part in inside]


def _prompted(processor: Any, text: str) -> tuple[str, str]:
    return processor.query_prefix, 10 * processor.query_augmentation_token


def _colpali(processor: Any, text: str) -> tuple[str, str]:
    before, after = _prompted(processor, text)
    return processor.tokenizer.bos_token + before, after


def _colgemma3(processor: Any, text: str) -> tuple[str, str]:
    asked = f"Query: {text}"
    content = [{"type": "text", "text": asked}]
    whole = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=False
    )
    before, _, after = whole.partition(asked)
    return before + asked[: -len(text)], after


_AROUND = {"colpali": _colpali, "colgemma3": _colgemma3}
"""What a family puts around a query, where it is not a prompt and augmentation tokens."""
