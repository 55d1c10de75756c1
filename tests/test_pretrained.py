"""Models to start from: those of charrnn-models, how they are built, and those of the Hub."""

import importlib.util
import shutil
import sys
import typing
from pathlib import Path

import pytest

import charrnn
import plain
from charrnn import create
from charrnn.cli import main

BUILDER = Path(__file__).parents[1] / "models" / "build.py"
TINY = {"hidden_size": 4, "steps": 2, "progress": False}


@pytest.fixture
def builder():
    if not BUILDER.exists():
        pytest.skip("the tests were copied away from the project")
    spec = importlib.util.spec_from_file_location("build_models", BUILDER)
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_models"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["build_models"]


@pytest.fixture
def model():
    return plain.train_records(["anna", "hanna"], **TINY)


@pytest.fixture
def installed(tmp_path, monkeypatch, model):
    """A charrnn_models with one model."""
    package = tmp_path / "charrnn_models"
    package.mkdir()
    (package / "__init__.py").touch()
    model.save(package / "names.safetensors")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "charrnn_models", raising=False)
    yield package
    sys.modules.pop("charrnn_models", None)


def test_pretrained_loads_a_model_by_name(installed, model):
    found = charrnn.pretrained("names")
    assert found.generate(9, seed=1) == model.generate(9, seed=1)
    assert found is not charrnn.pretrained("names")


def test_a_wrong_name_is_answered_with_the_names():
    with pytest.raises(ValueError, match=r"name must be 'english', .*'nams'; did you mean names"):
        charrnn.pretrained("nams")


def test_without_the_models_the_error_says_how_to_install_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "charrnn_models", None)
    with pytest.raises(ModuleNotFoundError, match="pip install charrnn-models"):
        charrnn.pretrained("names")


def test_the_command_takes_a_name_for_a_file(installed, capfdbinary):
    assert main(["generate", "names", "--count", "2", "--seed", "1"]) == 0
    assert len(capfdbinary.readouterr().out.splitlines()) == 2
    assert main(["export", "names", str(installed / "names.js")]) == 0


def test_each_model_has_a_recipe_with_a_clean_text(builder, monkeypatch):
    monkeypatch.setattr(builder, "PACKAGES", ("json", "logging"))
    assert {*builder.RECIPES} == {*typing.get_args(create.Pretrained)}
    for name, recipe in builder.RECIPES.items():
        text = recipe.text()
        assert len(text) > 500
        assert all(string.isascii() and string for string in text), name
        assert recipe.text() == text


def test_building_twice_gives_the_same_file_and_card(builder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for n_threads, folder in enumerate((first, second), 1):
        folder.mkdir()
        builder.build("names", folder, n_threads=n_threads, **TINY)
    for name in ("names.safetensors", "names.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    card = (first / "names.md").read_text(encoding="utf-8")
    assert "License of the data**: BSD-3-Clause" in card
    assert "nats" in card


def test_a_model_from_a_folder(tmp_path, model):
    model.save(tmp_path / "model.safetensors")
    found = charrnn.CharRNN.from_pretrained(tmp_path)
    assert found.generate(9, seed=1) == model.generate(9, seed=1)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        charrnn.CharRNN.from_pretrained(tmp_path / "..")


def test_without_the_library_the_hub_says_what_to_install(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (model.push_to_hub, charrnn.CharRNN.from_pretrained):
        with pytest.raises(ModuleNotFoundError, match=r"charrnn-cython\[hub\]"):
            call("user/names")


def test_a_model_goes_to_the_hub_and_comes_back(tmp_path, monkeypatch, model):
    hub = pytest.importorskip("huggingface_hub")
    mixin = importlib.import_module("huggingface_hub.hub_mixin")

    class Hub:
        """The Hub, in a folder."""

        def __init__(self, token=None):
            assert token == "secret"

        def create_repo(self, repo_id, private, exist_ok):
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, commit_message, **options):
            shutil.copytree(folder_path, tmp_path / repo_id)
            return f"{repo_id}: {commit_message}"

    def download(repo_id, filename, library_name, revision):
        assert (library_name, revision) == ("charrnn", "main")
        return str(tmp_path / repo_id / filename)

    monkeypatch.setattr(mixin, "HfApi", Hub)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    pushed = model.push_to_hub("user/names", token="secret", commit_message="names")
    assert pushed == "user/names: names"
    assert "charrnn" in (tmp_path / "user" / "names" / "README.md").read_text(encoding="utf-8")
    found = charrnn.CharRNN.from_pretrained("user/names", revision="main")
    assert found.generate(9, seed=1) == model.generate(9, seed=1)
