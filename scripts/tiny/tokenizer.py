"""The two tokenizers: one token for each word of the closed lexicon and its wordings, smaller pieces for all else.

Trains nothing: the vocabulary is written down, not learnt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain, product
from string import ascii_lowercase, printable

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from servers.rag.corpus import lexicon
from servers.rag.corpus.facts import ANIMALS, RELATIONS

PAD, UNK, EOS = "<pad>", "<unk>", "<eos>"
SPACE = "\u2581"  # what Metaspace writes at the start of a word
WORD_SCORE, PIECE_SCORE = -1.0, -10.0  # log-probabilities: a whole word always beats its pieces


def words() -> tuple[str, ...]:
    """Every word of the corpus, of its questions and of the prompt, each once."""
    relations = [*chain.from_iterable(kind.values() for kind in RELATIONS.values()), ANIMALS]
    wordings = " ".join(chain.from_iterable((*relation.statements, *relation.questions) for relation in relations))
    functional = re.findall(
        r"[A-Za-z]+", re.sub(r"\{.\}", "", wordings) + " ".join(lexicon.ANIMALS) + " Question Answer"
    )
    cased = chain.from_iterable((word, word.capitalize(), word.lower()) for word in functional)
    return tuple(dict.fromkeys([*lexicon.words(), *cased]))


def _tokenizer(tokens: Iterable[tuple[str, float]], *, byte_fallback: bool) -> Tokenizer:
    special = [(PAD, 0.0), (UNK, 0.0), (EOS, 0.0)]
    tokenizer = Tokenizer(Unigram([*special, *tokens], unk_id=1, byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\n"), "isolated"), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.add_special_tokens([PAD, UNK, EOS])
    return tokenizer


def reader_tokenizer() -> PreTrainedTokenizerFast:
    """Case matters; unknown words fall to characters and bytes, so that any text comes back as it went in."""
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), *(mark for mark in printable if not mark.isspace()), SPACE]
    tokens = [*((SPACE + word, WORD_SCORE) for word in words()), (SPACE + "\n", WORD_SCORE)]
    tokenizer = _tokenizer([*tokens, *((piece, PIECE_SCORE) for piece in pieces)], byte_fallback=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(" \n ", "\n"),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNK, eos_token=EOS,
        padding_side="left", model_max_length=1024, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def embedder_tokenizer() -> Tokenizer:
    """Case does not matter; unknown words fall to pairs of letters, so that like words share pieces."""
    marks = (mark for mark in printable if not mark.isspace() and not mark.isupper())
    pieces = [*marks, SPACE, *(SPACE + letter for letter in ascii_lowercase)]
    pieces += ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    known = dict.fromkeys(word.lower() for word in words())
    tokens = [*((SPACE + word, WORD_SCORE) for word in known), *((piece, PIECE_SCORE) for piece in pieces)]
    # of equal scores per piece the fewest pieces win, so pairs are taken before single letters
    tokenizer = _tokenizer(dict(reversed(tokens)).items(), byte_fallback=False)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    return tokenizer
