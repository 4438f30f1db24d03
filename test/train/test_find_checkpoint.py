from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from torch_geometric_rfm.train.checkpoint import PRETRAINED
from torch_geometric_rfm.train.find_checkpoint import find_checkpoint


def test_without_a_name_it_is_that_of_the_package():
    assert find_checkpoint() == PRETRAINED
    assert (PRETRAINED / 'model.safetensors').exists()


def test_a_folder_goes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs' / 'first').mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', None)
    assert find_checkpoint('runs/first') == Path('runs/first')


def test_the_hub_is_asked_for_what_is_no_folder(monkeypatch, tmp_path):
    asked = []

    def download(name):
        asked.append(name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    assert find_checkpoint('some-org/some-model') == tmp_path
    assert asked == ['some-org/some-model']


@pytest.mark.parametrize(
    'name', ['nowhere', '/nowhere', '../nowhere', '/nowhere/at/all']
)
def test_what_is_neither_is_named(name):
    with pytest.raises(FileNotFoundError, match=f"no folder '{name}'.*'org/model'"):
        find_checkpoint(name)


def test_an_answer_of_the_hub_is_told(monkeypatch):
    def download(name):
        raise HFValidationError(f'{name} is no name')

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    with pytest.raises(FileNotFoundError, match="no folder 'a/b', and the Hub .* name"):
        find_checkpoint('a/b')
