"""The tokenizers of the shipped models: a tokenizer.json, read without transformers."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from servers.rag.models import TINY


class FileTokenizer:
    """`end` is the token that ends an answer."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.end: int | None = self._tokenizer.token_to_id("<eos>")

    @classmethod
    def shipped(cls) -> "FileTokenizer":
        """The shipped reader's, whose ids are valid in every profile's vocabulary."""
        return cls(TINY / "reader")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, not padded."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def vocabulary(self) -> dict[str, int]:
        """Ids by token."""
        return self._tokenizer.get_vocab()
