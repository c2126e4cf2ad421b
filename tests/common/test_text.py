"""Texts and their files, and Markov sources against enumeration, eigenvectors and counts."""

from __future__ import annotations

import hashlib
import itertools
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from common.data import text as texts
from common.data.home import data_home
from common.data.markov import MarkovSource, random_source
from common.data.text import LETTERS, Text, normalise, text8, tinyshakespeare, tinyshakespeare27

SPLITS: tuple[texts.Split, ...] = ("train", "validation", "test")
PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak 3 times.\n" * 12


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def play(tmp_path, monkeypatch) -> Path:
    """A data home whose tinyshakespeare is `PLAY`, with a checksum to match."""
    path = tmp_path / "home" / "tinyshakespeare" / "input.txt"
    path.parent.mkdir(parents=True)
    path.write_text(PLAY)
    monkeypatch.setattr(texts, "TINYSHAKESPEARE_SHA256", {"input.txt": hashlib.sha256(PLAY.encode()).hexdigest()})
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "home"))
    return path


def test_splits_are_the_text_cut_in_three(play):
    parts = [tinyshakespeare(split, offline=True) for split in SPLITS]
    assert "".join(part.decode(part.tokens) for part in parts) == PLAY
    assert [round(100 * len(part) / len(PLAY)) for part in parts] == [90, 5, 5]
    assert len({part.alphabet for part in parts}) == 1
    assert parts[0].vocab == len(set(PLAY))
    for split, part in zip(SPLITS, parts, strict=True):
        letters = tinyshakespeare27(split, offline=True)
        assert letters.alphabet == LETTERS
        assert letters.decode(letters.tokens) == normalise(part.decode(part.tokens))


def test_the_real_play_has_the_sizes_of_the_table():
    if not (data_home() / "tinyshakespeare" / "input.txt").exists():
        pytest.skip("tinyshakespeare is not in the data home")
    assert [len(tinyshakespeare(split)) for split in SPLITS] == [1_003_854, 55_770, 55_770]
    assert tinyshakespeare().vocab == 65
    assert [len(tinyshakespeare27(split)) for split in SPLITS] == [954_691, 52_493, 52_560]
    assert tinyshakespeare().decode(tinyshakespeare().tokens[:14]) == "First Citizen:"


def test_normalisation_is_that_of_text8():
    # Rules of wikifil.pl: small letters, digits spelled, all else a space, spaces squeezed; lines begin with a space.
    assert normalise("Anarchism originated\n\nas a Term") == " anarchism originated as a term"
    assert normalise("Don't PANIC: 42, (x)") == " don t panic four two x"
    assert normalise("in 1905a b_c \t naïve 10\u212a") == " in one nine zero five a b c na ve one zero"
    assert normalise("0123456789") == " zero one two three four five six seven eight nine"
    assert normalise(" ...\n") == ""
    assert set(normalise(PLAY)) <= set(LETTERS)
    assert normalise(normalise(PLAY)) == normalise(PLAY)


def test_chunks_begin_everywhere_alike_and_are_pieces_of_the_text():
    text = Text("".join(map(chr, range(200))), torch.arange(30, dtype=torch.uint8))
    chunks = text.chunks(6000, 11, seeded(0))
    assert chunks.dtype == torch.int64
    assert torch.equal(chunks - chunks[:, :1], torch.arange(11).expand(6000, 11))
    counts = torch.bincount(chunks[:, 0], minlength=20)
    assert len(counts) == 20  # the last one begins at 30 - 11
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert torch.equal(text.chunks(6000, 11, seeded(0)), chunks)
    assert not torch.equal(text.chunks(6000, 11, seeded(1)), chunks)
    assert text.chunks(2, 30, seeded(0)).tolist() == [list(range(30))] * 2


def test_windows_cover_the_text_once():
    text = Text("ab", torch.arange(23, dtype=torch.uint8))
    assert text.windows(5).tolist() == [list(range(5 * i, 5 * i + 5)) for i in range(4)]
    for length in (0, 24):
        with pytest.raises(ValueError, match=f"length is {length}; a text of 23 characters"):
            text.windows(length)
        with pytest.raises(ValueError, match=f"length is {length}; a text of 23 characters"):
            text.chunks(1, length, seeded(0))


def test_encoding_goes_there_and_back():
    text = Text(LETTERS, torch.zeros(1, dtype=torch.uint8))
    assert text.decode(text.encode(" the quick brown fox")) == " the quick brown fox"
    assert text.encode(" az").tolist() == [0, 1, 26]
    assert text.decode(torch.tensor([1, 27, 2])) == "a_b"
    with pytest.raises(ValueError, match="'E' is not one of the 27 characters"):
        text.encode("thE")
    with pytest.raises(ValueError, match="split is 'valid'; allowed: 'train', 'validation', 'test'"):
        text8("valid")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_a_damaged_file_is_named_and_not_read(play, damage):
    content = bytearray(play.read_bytes())
    if damage == "truncated":
        content = content[:-1]
    else:
        content[50] ^= 1
    play.write_bytes(content)
    for load in (tinyshakespeare, tinyshakespeare27):
        with pytest.raises(ValueError, match=f"{play} is truncated or corrupted"):
            load()


def test_a_missing_file_is_downloaded_once_and_a_bad_one_leaves_nothing(play, tmp_path, monkeypatch):
    source = tmp_path / "mirror.txt"
    source.write_text(PLAY)
    monkeypatch.setattr(texts, "TINYSHAKESPEARE_URL", source.as_uri())
    play.unlink()
    with pytest.raises(FileNotFoundError, match=f"offline, and {play} is missing"):
        tinyshakespeare(offline=True)
    source.write_text(PLAY[:-1])
    with pytest.raises(FileNotFoundError, match=f"{play} is missing and could not be downloaded"):
        tinyshakespeare()
    assert not list(play.parent.iterdir())
    source.write_text(PLAY)
    tinyshakespeare()
    source.unlink()
    assert play.read_text() == PLAY
    assert len(tinyshakespeare("test")) == math.ceil(len(PLAY) * 0.05)


def test_text8_is_unpacked_and_cut(tmp_path, monkeypatch):
    """A stand-in of 2000 characters, packed as the real one is."""
    content = normalise(PLAY * 3)[:2000]
    archive = tmp_path / "text8.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("text8", content)
    monkeypatch.setattr(texts, "TEXT8_URL", archive.as_uri())
    monkeypatch.setattr(texts, "TEXT8_MD5", {"text8": hashlib.md5(content.encode()).hexdigest()})
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "home"))
    with pytest.raises(FileNotFoundError, match=f"offline, and {tmp_path}/home/text8/text8 is missing"):
        text8(offline=True)
    parts = [text8(split) for split in SPLITS]
    assert [len(part) for part in parts] == [1800, 100, 100]
    assert "".join(part.decode(part.tokens) for part in parts) == content
    assert [path.name for path in (tmp_path / "home" / "text8").iterdir()] == ["text8"]

    archive.write_bytes(archive.read_bytes()[:-30])
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "unlucky"))
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .* is no archive of text8"):
        text8()
    assert not list((tmp_path / "unlucky" / "text8").iterdir())


# Markov sources


def test_entropy_is_that_of_all_sequences_enumerated():
    source = random_source(3, seeded(0), sharpness=1.5)
    pi = stationary_by_eigenvector(source)
    for length in (1, 2, 5):
        sequences = list(itertools.product(range(3), repeat=length))
        p = np.array(
            [pi[s[0]] * math.prod(float(source.transition[a, b]) for a, b in itertools.pairwise(s)) for s in sequences]
        )
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert source.entropy(length) == pytest.approx(scipy.stats.entropy(p), abs=1e-12)
        np.testing.assert_allclose(source.log_prob(torch.tensor(sequences)), np.log(p), rtol=1e-12)
    assert source.entropy(5) - source.entropy(4) == pytest.approx(source.entropy_rate, abs=1e-12)


def stationary_by_eigenvector(source: MarkovSource) -> np.ndarray:
    values, left = scipy.linalg.eig(source.transition.numpy(), left=True, right=False)
    leading = left[:, np.argmin(abs(values - 1))].real
    return leading / leading.sum()


@pytest.mark.parametrize("vocab", [2, 8, 27])
def test_start_is_the_left_eigenvector_and_structure_is_left_to_learn(vocab):
    source = random_source(vocab, seeded(vocab))
    np.testing.assert_allclose(source.start, stationary_by_eigenvector(source), atol=1e-12)
    # Knowing the token before is worth something, and does not tell all: what a network has to learn, and noise.
    assert 0.1 < source.entropy_rate < source.entropy(1) - 0.1 or vocab == 2
    assert random_source(vocab, seeded(0), sharpness=0.0).entropy_rate == pytest.approx(math.log(vocab), abs=1e-12)


def test_samples_follow_the_law():
    source = random_source(3, seeded(1), sharpness=1.0)
    tokens = source.sample(50_000, 4, seeded(2))
    codes = tokens @ torch.tensor([27, 9, 3, 1])
    counts = torch.bincount(codes, minlength=81).double()
    expected = 50_000 * source.log_prob(torch.tensor(list(itertools.product(range(3), repeat=4)))).exp()
    assert expected.min() > 5  # for the chi-square law
    assert scipy.stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3
    assert torch.equal(source.sample(50_000, 4, seeded(2)), tokens)
    assert torch.equal(source.sample(1, 1, seeded(3)), source.sample(1, 1, seeded(3)))


def test_long_samples_have_the_entropy_rate():
    source = random_source(16, seeded(3))
    nats = -source.log_prob(source.sample(2000, 64, seeded(4)))
    assert nats.mean().item() == pytest.approx(source.entropy(64), abs=4 * nats.std().item() / math.sqrt(2000))


def test_impossible_steps_are_never_drawn():
    ring = torch.zeros(4, 4, dtype=torch.float64)
    ring[range(4), [1, 2, 3, 0]] = 0.5
    ring[range(4), [3, 0, 1, 2]] = 0.5
    source = MarkovSource(ring)  # periodic, yet with one stationary law
    torch.testing.assert_close(source.start, torch.full((4,), 0.25, dtype=torch.float64))
    assert source.entropy_rate == pytest.approx(math.log(2))
    tokens = source.sample(1000, 50, seeded(0))
    assert ((tokens[:, 1:] - tokens[:, :-1]) % 2 == 1).all()
    assert source.log_prob(torch.tensor([0, 2])) == -math.inf


def test_bad_sources_are_named():
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="reducible"):
        MarkovSource(eye)
    with pytest.raises(ValueError, match="reducible"):
        MarkovSource(torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64))
    with pytest.raises(ValueError, match="rows must be probabilities"):
        MarkovSource(torch.tensor([[0.5, 0.5], [0.9, 0.2]], dtype=torch.float64).T)
    with pytest.raises(ValueError, match="rows must be probabilities"):
        MarkovSource(torch.tensor([[1.5, -0.5], [0.5, 0.5]], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"float32 of shape \(2, 2\)"):
        MarkovSource(eye.float())
    with pytest.raises(ValueError, match="vocab is 1"):
        random_source(1, seeded(0))
    source = random_source(2, seeded(0))
    with pytest.raises(ValueError, match="n and length are 0 and 3"):
        source.sample(0, 3, seeded(0))
    with pytest.raises(ValueError, match="length is 0"):
        source.entropy(0)
