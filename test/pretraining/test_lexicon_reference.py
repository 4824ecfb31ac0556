"""The readout against brute force over all piece sequences, incremental against whole, causality, golden files."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_lexicon import RULES, TEXTS, read, tiny_fallback, write_checkpoint
from latent_reference import LatentCache, LatentTransformer, load_latent
from lexicon_reference import LexiconReader, Trunk, score, score_by_tokens
from pieces import Lexicon, load_lexicon
from readout import EOS, SYMBOLS, Rule
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent.parent / "golden" / "lexicon"
Model = tuple[LatentTransformer, Lexicon]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp("tiny")
    write_checkpoint(folder, "plain")
    with torch.no_grad():
        yield load_latent(folder), load_lexicon(folder)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("rule", RULES)
def test_byte_by_byte_equals_the_whole_text(model: Model, rule: Rule, name: str) -> None:
    text = TEXTS[name]
    whole = score(Trunk(*model, text), rule, tiny_fallback, full=True)
    reader = LexiconReader(*model, rule, tiny_fallback)
    _, distributions = read(reader, text)
    assert np.abs(np.log(distributions) - np.log(whole.distributions)).max() < 1e-4
    assert np.abs(distributions.sum(1) - 1).max() < 1e-9
    assert (reader.steps, reader.positions) == (whole.steps, whole.positions)


def test_edits_leave_no_trace(model: Model) -> None:
    generator = random.Random(3)
    reader = LexiconReader(*model, RULES[1], tiny_fallback)
    for _ in range(60):
        text = generator.choice([*TEXTS.values()])
        reader.truncate(generator.randint(0, len(reader.text)))
        for byte in text[generator.randint(0, len(text)) :][: generator.randint(0, 9)]:
            reader.append(byte)
        fresh = LexiconReader(*model, RULES[1], tiny_fallback, reader.text)
        assert np.abs(np.log(reader.distribution()) - np.log(fresh.distribution())).max() < 1e-4, reader.text


@pytest.mark.parametrize("name", TEXTS)
def test_a_later_byte_changes_no_earlier_distribution(model: Model, name: str) -> None:
    text = TEXTS[name]
    whole = score(Trunk(*model, text), RULES[0], tiny_fallback, full=True).distributions
    for length in range(0, len(text), 5):
        other = score(Trunk(*model, text[:length] + b"'s\xe4 q"), RULES[0], tiny_fallback, full=True).distributions
        assert np.abs(np.log(whole[: length + 1]) - np.log(other[: length + 1])).max() < 1e-4


@pytest.mark.parametrize("text", [b"value = ret", b"let'", b"a\n  ", b"x caf\xc3", b"==", b"con(x)  c", "你".encode()])
def test_without_a_threshold_it_is_the_sum_over_all_piece_sequences(model: Model, text: bytes) -> None:
    """Threshold 0 and no share for the byte model: every piece that ends is read on, nothing is left out."""
    rule = Rule(refresh_threshold=0.0, fallback_share=0.0)
    reader = LexiconReader(*model, rule, tiny_fallback, text)
    words = text[reader.opened[0] :]
    joint = np.zeros(SYMBOLS)
    for pieces, weight, symbol in sequences(*model, reader.before, words):
        joint[symbol] += weight
    assert len(words) > 0 and joint.sum() > 0
    assert reader.distribution() == pytest.approx(joint / joint.sum(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("name", ["code", "characters", "not utf-8"])
@pytest.mark.parametrize("rule", RULES)
def test_with_a_threshold_it_is_the_sum_over_the_cuts_read_on(model: Model, rule: Rule, name: str) -> None:
    for length in range(1, len(TEXTS[name]) + 1, 3):
        reader = LexiconReader(*model, rule, tiny_fallback, TEXTS[name][:length])
        joint = by_plain_loops(model, reader)
        assert reader.distribution() == pytest.approx(joint / joint.sum(), rel=1e-4), reader.text
        assert reader.word.stale() is None, "an ended piece above the threshold was not read on"


def sequences(
    latent: LatentTransformer, lexicon: Lexicon, before: list[int], word: bytes
) -> Iterator[tuple[tuple[int, ...], float, int]]:
    """(pieces, probability, next symbol) of every piece sequence that spells the word and goes on, or ends with EOS."""
    open_ends: list[tuple[tuple[int, ...], bytes, float]] = [((), word, 1.0)]
    while open_ends:
        pieces, rest, weight = open_ends.pop()
        mass = next_piece(latent, lexicon, [*before, *pieces])
        for piece, probability in enumerate(mass):
            spelt = lexicon.pieces[piece]
            if not spelt:
                if piece == lexicon.eos and not rest:
                    yield pieces, weight * probability, EOS
            elif len(spelt) > len(rest) and spelt.startswith(rest):
                yield (*pieces, piece), weight * probability, spelt[len(rest)]
            elif rest.startswith(spelt):
                open_ends.append(((*pieces, piece), rest[len(spelt) :], weight * probability))


def by_plain_loops(model: Model, reader: LexiconReader) -> np.ndarray:
    """Joint probability of the open word and each next symbol, by every piece after every cut that was read on."""
    latent, lexicon = model
    (start, opened), text = reader.opened, reader.text
    read_on = {reading.pieces: start + reading.start for reading in reader.word.readings}
    first_cut = tuple(piece for piece, _ in lexicon.cut(text[start:opened]))
    joint, fallen, when_opened = np.zeros(SYMBOLS), 0.0, 0.0

    def fallback(end: int) -> float:
        return float(np.prod([tiny_fallback(text[:at])[text[at]] for at in range(end, len(text))]))

    for pieces, begin in read_on.items():
        path, rest = [*reader.before, *pieces], text[begin:]
        weight = float(np.prod([next_piece(*model, path[:at])[path[at]] for at in range(len(reader.before), len(path))]))
        at_opening = pieces == first_cut[: len(pieces)]
        for piece, probability in enumerate(weight * next_piece(*model, path)):
            spelt = lexicon.pieces[piece]
            if piece == lexicon.eos:
                joint[EOS] += probability * (not rest)
                when_opened += probability * (at_opening and begin == opened)
            elif spelt and spelt.startswith(rest) and spelt != rest:
                joint[spelt[len(rest)]] += probability
            elif spelt and rest.startswith(spelt) and begin + len(spelt) > opened and (*pieces, piece) not in read_on:
                fallen += probability * fallback(begin + len(spelt))
            if at_opening and begin + len(spelt) > opened and spelt.startswith(text[begin:opened]):
                when_opened += probability
    fallen += reader.rule.fallback_share * when_opened * fallback(opened)
    return joint + fallen * tiny_fallback(text)


def next_piece(latent: LatentTransformer, lexicon: Lexicon, path: list[int]) -> np.ndarray:
    """Probability of every piece after a path, run afresh; special pieces but EOS have none."""
    logits = latent.logits(latent.append(path, LatentCache(latent.config)))[-1].double()
    logits[[piece for piece in lexicon.special if piece != lexicon.eos]] = -torch.inf
    return logits.softmax(-1).numpy()


def test_tokens_and_bytes_measure_the_same_text(model: Model) -> None:
    """All cuts together are at least as likely as the canonical one, up to what lies in the byte model's share."""
    text = TEXTS["code"]
    rule = Rule(refresh_threshold=0.001, fallback_share=0.0)
    by_bytes = -score(Trunk(*model, text), rule, tiny_fallback).log_probability[:-1].sum()
    assert by_bytes < score_by_tokens(*model, text).sum() * 1.05


@pytest.mark.parametrize("form", ["plain", "blocks", "symmetric"])
def test_golden(form: str) -> None:
    latent, lexicon = load_latent(GOLDEN / form), load_lexicon(GOLDEN / form)
    golden = json.loads((GOLDEN / form / "golden.json").read_text())
    expected = load_file(GOLDEN / form / "golden.safetensors")
    assert len(golden["cases"]) == len(TEXTS) * len(RULES)
    for case in golden["cases"]:
        with torch.no_grad():
            reader = LexiconReader(latent, lexicon, replace(Rule(), **case["rule"]), tiny_fallback)
            lengths, distributions = read(reader, bytes(case["text"]))
        assert np.abs(np.log(distributions) - expected[case["name"]].numpy()).max() < 1e-4
        for got, want in zip(lengths, case["lengths"], strict=True):
            assert [[*r[:2]] for r in got["readings"]] == [[*r[:2]] for r in want["readings"]]
            assert (got["opened"], got["steps"], got["positions"]) == (want["opened"], want["steps"], want["positions"])
