import json

import pytest
import torch

from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import load_checkpoint, save_checkpoint
from torch_geometric_rfm.train.checkpoint import prepare_folder


def small_model():
    return RelationalTransformer(8, 1, 2, 16, text_channels=4)


def test_checkpoint_round_trip(tmp_path):
    model = small_model()
    save_checkpoint(tmp_path / 'run', model, {'sampling': {'num_cells': 8}})
    names = {path.name for path in (tmp_path / 'run').iterdir()}
    assert names == {'config.json', 'model.safetensors'}
    loaded, settings = load_checkpoint(tmp_path / 'run')
    assert settings == {'sampling': {'num_cells': 8}}
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_checkpoint_of_other_cell_types(tmp_path):
    save_checkpoint(tmp_path, small_model(), {})
    config = json.loads((tmp_path / 'config.json').read_text())
    config['cell_types'] = config['cell_types'][:-1]
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='cell_types'):
        load_checkpoint(tmp_path)


def test_checkpoint_of_a_later_format(tmp_path):
    save_checkpoint(tmp_path, small_model(), {})
    config = json.loads((tmp_path / 'config.json').read_text())
    config['format_version'] = 99
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='format 99'):
        load_checkpoint(tmp_path)


def test_damaged_weights(tmp_path):
    save_checkpoint(tmp_path, small_model(), {})
    weights = tmp_path / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match='damaged'):
        load_checkpoint(tmp_path)


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        load_checkpoint(tmp_path)


def test_failed_write_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    from torch_geometric_rfm.train import checkpoint

    model = small_model()
    save_checkpoint(tmp_path, model, {})
    before = (tmp_path / 'model.safetensors').read_bytes()

    def full_disk(weights, path):
        raise OSError('no space left on device')

    monkeypatch.setattr(checkpoint, 'save_file', full_disk)
    with pytest.raises(OSError, match='no space'):
        save_checkpoint(tmp_path, small_model(), {})
    assert (tmp_path / 'model.safetensors').read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_folder_that_is_not_a_run(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(FileExistsError, match='not a run'):
        prepare_folder(tmp_path)
    with pytest.raises(FileExistsError, match='is a file'):
        prepare_folder(tmp_path / 'thesis.tex')
    assert prepare_folder(tmp_path / 'new').is_dir()
