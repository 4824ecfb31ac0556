"""Cached latents are the model's own, documents are spread over languages, damage and another lexicon are named."""

import shutil
from pathlib import Path

import numpy
import pytest
import torch

import cache_latents
from cache_latents import CachedText, chosen_texts, load, load_all, run, store
from latent_reference import LatentCache, load_latent
from lexicon_fixture import tiny_data, tiny_model
from pieces import load_lexicon

TEXT = b"const value = con(x);\n    return value\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def cached(checkpoint: Path) -> CachedText:
    with torch.no_grad():
        return run(load_latent(checkpoint), load_lexicon(checkpoint), TEXT)


def test_states_are_the_latents(checkpoint: Path, cached: CachedText, tmp_path: Path) -> None:
    latent, lexicon = load_latent(checkpoint), load_lexicon(checkpoint)
    store(tmp_path / "0.npz", cached)
    found = load(tmp_path / "0.npz", lexicon)
    assert found.text == TEXT and b"".join(lexicon.pieces[piece] for piece in found.pieces) == TEXT
    with torch.no_grad():
        states = latent.append([lexicon.bos, *found.pieces.tolist()], LatentCache(latent.config))
    assert found.states.shape == states.shape and torch.allclose(found.states, states, atol=5e-3)


def test_texts_are_drawn_by_language_once_for_all(tmp_path: Path) -> None:
    texts = {
        language: [f"{language} {i} ".encode() * 200 for i in range(30)] for language in ("TypeScript", "Python", "Go", "CSS")
    }
    data = tiny_data(tmp_path / "train", texts)
    chosen = chosen_texts(data, 20, 500)
    assert chosen == chosen_texts(data, 20, 500) and max(map(len, chosen)) == 500
    languages = [text.split()[0].decode() for text in chosen]
    assert {language: languages.count(language) for language in texts} == {"TypeScript": 8, "Python": 4, "Go": 5, "CSS": 3}
    assert len(set(chosen)) == 20 and len(set(languages[:6])) > 2


def test_only_what_is_missing_is_run_again(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tiny_data(tmp_path / "train", {"Python": [TEXT * 20] * 8}), tmp_path / "out"
    arguments = ["cache_latents.py", str(checkpoint), str(data), str(out), "--files", "10", "--longest", "60", "--threads", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    cache_latents.main()
    names = sorted(path.name for path in out.iterdir())
    assert names == ["00000.npz", "00001.npz"]
    kept = (out / names[0]).stat().st_mtime_ns
    (out / names[1]).unlink()
    cache_latents.main()
    torch.set_grad_enabled(True)
    assert sorted(path.name for path in out.iterdir()) == names and (out / names[0]).stat().st_mtime_ns == kept


def test_damage_and_another_lexicon_are_named(checkpoint: Path, cached: CachedText, tmp_path: Path) -> None:
    lexicon = load_lexicon(checkpoint)
    store(tmp_path / "0.npz", cached)
    whole = (tmp_path / "0.npz").read_bytes()
    (tmp_path / "0.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit, match=r"0\.npz is damaged; remove it"):
        load(tmp_path / "0.npz", lexicon)
    store(tmp_path / "0.npz", CachedText(cached.text, cached.pieces[::-1].copy(), cached.starts, cached.states))
    with pytest.raises(SystemExit, match="was cut by another lexicon"):
        load_all(tmp_path, lexicon)
    with pytest.raises(SystemExit, match="holds no latents"):
        load_all(tmp_path / "nothing", lexicon)


def test_a_full_disk_leaves_nothing_behind(cached: CachedText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numpy, "savez", full)
    with pytest.raises(SystemExit, match="No space left on device.; free some space"):
        store(tmp_path / "0.npz", cached)
    assert not list(tmp_path.iterdir())


def test_a_lexicon_that_does_not_match_the_table_is_named(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"vocab_size": ' + str(len(load_lexicon(checkpoint).pieces)), '"vocab_size": 7'))
    with pytest.raises(ValueError, match="pieces in the tokenizer, 7 in config.json"):
        load_lexicon(tmp_path / "other")
    with pytest.raises(ValueError, match="the embedding table has .* rows, the lexicon 7 pieces"):
        load_latent(tmp_path / "other")
