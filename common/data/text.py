"""Text by character: tinyshakespeare, its 27-letter form, and text8, each in three parts that do not overlap.

| set               | alphabet                   | train      | validation | test      |
|-------------------|----------------------------|------------|------------|-----------|
| tinyshakespeare   | its 65 characters          | 1 003 854  | 55 770     | 55 770    |
| tinyshakespeare27 | space and a to z           | 954 691    | 52 493     | 52 560    |
| text8             | space and a to z           | 90 000 000 | 5 000 000  | 5 000 000 |

Every set is cut once, in the order of its file: 90, 5 and 5 % of the characters, which for text8 is the usual split.
The 27-letter form is made of each part by itself, so that both forms have the same plays in the same part.
"""

from __future__ import annotations

import re
import shutil
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from common.data.home import data_home, ensure

Split = Literal["train", "validation", "test"]

TINYSHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
TINYSHAKESPEARE_SHA256: Mapping[str, str] = {
    "input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
}
TEXT8_URL = "http://mattmahoney.net/dc/text8.zip"
TEXT8_MD5: Mapping[str, str] = {"text8": "3bea1919949baf155f99411df5fada7e"}

LETTERS = " abcdefghijklmnopqrstuvwxyz"
"""The alphabet of text8: token 0 is the space."""

MASK_SIGN = "_"
"""How `Text.decode` shows the token behind the last of the alphabet, which absorbing chains use as their mask."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_PARTS: Mapping[str, tuple[int, int]] = {"train": (0, 90), "validation": (90, 95), "test": (95, 100)}
"""Where a split begins and ends, in per cent of the characters."""


@dataclass(frozen=True, eq=False)
class Text:
    """A text as numbers.

    Attributes:
        alphabet: the characters; token i stands for alphabet[i].
        tokens: uint8 (N,).
    """

    alphabet: str
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def vocab(self) -> int:
        """Number of characters in the alphabet."""
        return len(self.alphabet)

    def chunks(self, batch_size: int, length: int, generator: torch.Generator) -> Tensor:
        """B pieces of L characters, each beginning anywhere with the same probability -> int64 (B, L)."""
        self._check_length(length)
        last = len(self) - length
        starts = torch.randint(last + 1, (batch_size, 1), generator=generator, device=generator.device)
        positions = starts.to(self.tokens.device) + torch.arange(length, device=self.tokens.device)
        return self.tokens[positions].long()

    def windows(self, length: int) -> Tensor:
        """The text cut into pieces of L characters, one after another -> int64 (N // L, L). A shorter rest is left."""
        self._check_length(length)
        count = len(self) // length
        return self.tokens[: count * length].view(count, length).long()

    def encode(self, text: str) -> Tensor:
        """Tokens of `text` -> int64 (L,). Raises ValueError where it holds a character that the alphabet does not."""
        if strange := sorted(set(text) - set(self.alphabet)):
            raise ValueError(f"{strange[0]!r} is not one of the {self.vocab} characters {self.alphabet!r}")
        return torch.tensor([self.alphabet.index(character) for character in text], dtype=torch.int64)

    def decode(self, tokens: Tensor) -> str:
        """The characters of tokens (L,); the mask, token `vocab`, is shown as `MASK_SIGN`."""
        signs = self.alphabet + MASK_SIGN
        return "".join(signs[token] for token in tokens.tolist())

    def _check_length(self, length: int) -> None:
        if not 1 <= length <= len(self):
            raise ValueError(f"length is {length}; a text of {len(self)} characters has pieces of 1 to {len(self)}")


def normalise(text: str) -> str:
    """`text` in text8's 27 letters, by the rules of its author (M. Mahoney, `wikifil.pl`, after the mark-up is gone).

    Capitals become small, digits are spelled out, everything else but a to z becomes space, and one space stands
    between two words, and before the first.
    """
    for digit, word in enumerate(DIGITS):
        text = text.replace(str(digit), f" {word} ")
    # Capitals of other alphabets may have a small form within a to z (the Kelvin sign): they are "everything else".
    words = re.findall("[a-z]+", re.sub("[A-Z]", lambda capital: capital[0].lower(), text))
    return "".join(f" {word}" for word in words)


def tinyshakespeare(split: Split = "train", *, offline: bool | None = None) -> Text:
    """Forty thousand lines of Shakespeare (Karpathy 2015), 1 115 394 characters in all, from an alphabet of 65.

    The file is `<data home>/tinyshakespeare/input.txt`; it is downloaded when missing.

    Raises:
        ValueError: unknown split; the file is truncated or corrupted.
        FileNotFoundError: the file is missing and cannot be downloaded.
    """
    text = _read_tinyshakespeare(split, offline)
    return _tokens(_part(text, split), "".join(map(chr, sorted(set(text)))))


def tinyshakespeare27(split: Split = "train", *, offline: bool | None = None) -> Text:
    """`tinyshakespeare` in text8's 27 letters: `normalise` of each split. Raises as `tinyshakespeare` does."""
    part = _part(_read_tinyshakespeare(split, offline), split)
    return _tokens(normalise(part.decode("ascii")).encode("ascii"), LETTERS)


def text8(split: Split = "train", *, offline: bool | None = None) -> Text:
    """The first 100 million characters of `normalise`d English Wikipedia of 2006 (M. Mahoney), 90, 5 and 5 million.

    The file is `<data home>/text8/text8`; it is downloaded (31 MB, packed) when missing.

    Raises:
        ValueError: unknown split; the file is truncated or corrupted.
        FileNotFoundError: the file is missing and cannot be downloaded.
    """
    _check_split(split)
    folder = ensure(data_home() / "text8", TEXT8_MD5, "md5", _unpack(TEXT8_URL, "text8"), offline)
    return _tokens(_part((folder / "text8").read_bytes(), split), LETTERS)


def _check_split(split: str) -> None:
    if split not in _PARTS:
        raise ValueError(f"split is {split!r}; allowed: 'train', 'validation', 'test'")


def _part(text: bytes, split: Split) -> bytes:
    first, last = _PARTS[split]
    return text[len(text) * first // 100 : len(text) * last // 100]


def _tokens(text: bytes, alphabet: str) -> Text:
    table = bytearray(256)
    for token, character in enumerate(alphabet):
        table[ord(character)] = token
    # A bytearray, because torch wants memory that may be written to.
    return Text(alphabet, torch.frombuffer(bytearray(text.translate(table)), dtype=torch.uint8))


def _read_tinyshakespeare(split: Split, offline: bool | None) -> bytes:
    _check_split(split)

    def download(scratch: Path) -> Path:
        _fetch(TINYSHAKESPEARE_URL, scratch / "input.txt")
        return scratch

    folder = ensure(data_home() / "tinyshakespeare", TINYSHAKESPEARE_SHA256, "sha256", download, offline)
    return (folder / "input.txt").read_bytes()


def _fetch(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=60) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)


def _unpack(url: str, member: str) -> Callable[[Path], Path]:
    """A download for `ensure`: fetch the archive at `url` and take `member` out of it."""

    def download(scratch: Path) -> Path:
        _fetch(url, scratch / "archive.zip")
        try:
            with zipfile.ZipFile(scratch / "archive.zip") as archive:
                archive.extract(member, scratch)
        except (zipfile.BadZipFile, KeyError) as error:
            raise OSError(f"{url} is no archive of {member}") from error
        return scratch

    return download
