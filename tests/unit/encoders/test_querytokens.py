"""Guards what a query becomes: the library's tokens and vectors, and which of them say something.

A query that cannot be encoded is named and ends no other.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("colpali_engine", reason="the vision encoders are not installed")

import torch

from patchlight.storage.records import QueryEncoding
from patchlight.tasks.common.errors import EncodingFailed
from patchlight.tasks.encoders.colvision import ColVisionEncoder
from patchlight.tasks.encoders.querytokens import QueryPreparer, has_meaning
from tests.vision_examples import BATCH_TOLERANCE, Shelf, each_family

QUERIES = [
    "What is 12%?",
    "l'année 2024 — naïve § 3!",
    "売上高は?",
    "a question of some more words than the others",
]


def encodings(encoder: ColVisionEncoder, *queries: str) -> list[QueryEncoding]:
    made = []
    for outcome in encoder.encode_queries(queries):
        assert isinstance(outcome, QueryEncoding), outcome
        made.append(outcome)
    return made


@each_family
def test_queries_are_the_librarys_and_words_are_told_from_the_rest(
    shelf: Shelf, family: str
) -> None:
    encoder = shelf.encoder(family)
    processor, model = encoder._pages._processor, encoder._model
    for query, encoding in zip(QUERIES, encodings(encoder, *QUERIES), strict=True):
        theirs = processor.process_queries(queries=[query])
        with torch.inference_mode():
            vectors = model(**theirs)[0].numpy()
        assert len(encoding.tokens) == len(vectors)
        assert np.abs(encoding.vectors - vectors).max() < BATCH_TOLERANCE
        assert np.allclose(np.linalg.norm(encoding.vectors, axis=1), 1, atol=1e-6)
        assert (encoding.weights == 1).all()
        # These tokenizers make a token of every byte; each stands for the letter it is of.
        said = [letter for letter in query if has_meaning(letter) for _ in letter.encode()]
        marked = zip(encoding.tokens, encoding.meaning, strict=True)
        assert [token for token, meaning in marked if meaning] == said
        around = [*encoding.tokens[:1], *encoding.tokens[-10:]]
        assert set(around) & {"<bos>", "<|endoftext|>", "<end_of_utterance>", "<end_of_turn>"}


@each_family
def test_a_query_is_the_same_in_any_company(shelf: Shelf, family: str) -> None:
    encoder = shelf.encoder(family)
    together = encodings(encoder, *QUERIES)
    for query, one in zip(QUERIES, together, strict=True):
        (alone,) = encodings(encoder, query)
        assert alone.tokens == one.tokens
        assert np.array_equal(alone.meaning, one.meaning)
        assert np.abs(alone.vectors - one.vectors).max() < BATCH_TOLERANCE


@each_family
def test_special_tokens_in_a_query_are_text(shelf: Shelf, family: str) -> None:
    """One that stands for a picture would crash the model, or end the prompt."""
    encoder = shelf.encoder(family)
    tokenizer = encoder._pages._processor.tokenizer
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    assert special & {"<image>", "<|image_pad|>", "<image_soft_token>"}
    query = "a " + " b ".join(sorted(special)) + " c <<image>image> <|im<|image_pad|>age_pad|>"
    (hostile,) = encodings(encoder, query)
    (plain,) = encodings(encoder, "a")
    own = [token for token in hostile.tokens if token in special]
    around = [token for token in plain.tokens if token in special]
    assert own == around


@pytest.mark.parametrize("query", ["", "  ", "?!", "§ €", "<|image_pad|>"[:2]])
def test_a_query_that_says_nothing_is_named_and_ends_no_other(shelf: Shelf, query: str) -> None:
    first, nothing, last = shelf.encoder("colqwen2").encode_queries(["fine", query, "good"])
    assert isinstance(nothing, ValueError)
    assert f"{query!r} holds no letter and no digit" in str(nothing)
    for encoding, text in ((first, "fine"), (last, "good")):
        assert isinstance(encoding, QueryEncoding)
        said = zip(encoding.tokens, encoding.meaning, strict=True)
        assert "".join(token for token, meaning in said if meaning) == text


def test_a_query_longer_than_the_model_takes_is_named_and_ends_no_other(shelf: Shelf) -> None:
    long, fine = shelf.encoder("colqwen2").encode_queries(["long ago " * 600, "fine"])
    assert isinstance(long, ValueError)
    assert re.search(r"long ago.*too long.*shorten it", str(long))
    assert isinstance(fine, QueryEncoding)


def test_queries_that_cannot_be_prepared_end_no_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tokens than the library's, and a text that the tokenizer does not take at all."""
    processor = shelf.encoder("colqwen2")._pages._processor
    library = type(processor).process_queries

    def changed(self: Any, queries: list[str]) -> Any:
        if any("odd" in query for query in queries):
            raise TypeError("no text")
        made = library(self, queries=queries)
        for row, query in enumerate(queries):
            if "other" in query:
                made["input_ids"][row, -1] += 1
        return made

    monkeypatch.setattr(type(processor), "process_queries", changed)
    one, other, odd, two = QueryPreparer("colqwen2", processor, 4096).prepare(
        ["one", "another", "odd", "two"]
    )
    assert not isinstance(one, Exception) and not isinstance(two, Exception)
    assert (one.words[-10:], two.words[-10:]) == (("<|endoftext|>",) * 10,) * 2
    assert isinstance(other, EncodingFailed)
    assert "other tokens of the query 'another'" in str(other)
    assert isinstance(odd, TypeError)


def test_a_query_whose_vectors_are_no_numbers_ends_no_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = shelf.encoder("colqwen2")
    model = encoder._model

    def long_ones_are_nan(**batch: Any) -> Any:
        vectors = model(**batch).clone()
        vectors[batch["attention_mask"].sum(dim=1) > 40] = torch.nan
        return vectors

    monkeypatch.setattr(encoder, "_model", long_ones_are_nan)
    fine, broken, last = encoder.encode_queries(["a", "of more words " * 4, "b"])
    assert isinstance(fine, QueryEncoding)
    assert isinstance(last, QueryEncoding)
    assert isinstance(broken, EncodingFailed)
    assert "no finite vectors for the query" in str(broken)
