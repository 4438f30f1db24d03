import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import save_file

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import HashingTextEncoder
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.nn.models import official_checkpoint
from torch_geometric_rfm.nn.models.key_map import to_official
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.train import load_checkpoint, save_checkpoint

SIZES = {'channels': 32, 'num_layers': 2, 'ff_channels': 24, 'text_channels': 6}
FILE = 'pretrain_rel-f1_driver-dnf.pt'


def random_model(name, **overrides):
    model = getattr(RelationalTransformer, name)(**(SIZES | overrides))
    with torch.no_grad():
        for param in model.parameters():
            param.normal_(std=0.3)
    return model.eval()


@pytest.fixture
def v1(tmp_path):
    model = random_model('rt_v1')
    state_dict = {f'_orig_mod.{k}': v for k, v in to_official(model).items()}
    torch.save({'model': state_dict, 'step': 7}, tmp_path / FILE)
    return model, tmp_path


def same(model, other):
    cells = random_cells(text_channels=6)
    assert torch.equal(model(cells), other(cells))
    assert model(cells).any()
    assert model.config == other.config


def test_v1(v1):
    model, folder = v1
    loaded = RelationalTransformer.from_pretrained(folder, filename=FILE)
    same(model, loaded)
    assert not loaded.training
    assert loaded.rms_eps == 2**-7
    assert all(param.requires_grad for param in loaded.parameters())
    other = RelationalTransformer.from_pretrained(folder, filename=FILE, rms_eps=1e-5)
    assert other.rms_eps == other.norm.eps == 1e-5


def test_rt_j(tmp_path):
    model = random_model('rt_j', heads=4)
    official = {key: value.bfloat16() for key, value in to_official(model).items()}
    (tmp_path / 'regression').mkdir()
    save_file(official, tmp_path / 'regression' / 'model.safetensors')
    loaded = RelationalTransformer.from_pretrained(
        tmp_path, filename='regression/model.safetensors'
    )
    assert loaded.config == model.config
    for key, value in to_official(loaded).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, official[key].float())


def test_download(v1, monkeypatch):
    model, folder = v1
    calls = []

    def download(repo_id, filename, **kwargs):
        calls.append((repo_id, filename, kwargs))
        return str(folder / filename)

    monkeypatch.setattr(official_checkpoint, 'hf_hub_download', download)
    loaded = RelationalTransformer.from_pretrained(
        'stanford-star/rt-v1', filename=FILE, revision='main', rms_eps=2**-7
    )
    same(model, loaded)
    assert calls == [('stanford-star/rt-v1', FILE, {'revision': 'main'})]


@pytest.mark.parametrize('offline', [False, True])
def test_hub_that_cannot_be_reached(monkeypatch, tmp_path, offline):
    if not offline:  # as huggingface_hub puts it where there is no route

        def download(repo_id, filename, **kwargs):
            raise huggingface_hub.errors.LocalEntryNotFoundError('no connection')

        monkeypatch.setattr(official_checkpoint, 'hf_hub_download', download)
    with pytest.raises(FileNotFoundError) as info:
        RelationalTransformer.from_pretrained(
            'stanford-star/rt-v1', filename=FILE, cache_dir=tmp_path
        )
    message = str(info.value)
    assert f"'stanford-star/rt-v1' is no folder, and its '{FILE}' cannot" in message
    assert 'download the file elsewhere and pass its folder' in message
    cause = info.value.__cause__
    assert isinstance(cause, (OfflineModeIsEnabled, FileNotFoundError))


def test_bad_files(v1):
    _, folder = v1
    with pytest.raises(FileNotFoundError, match="there is no file 'other.pt' in"):
        RelationalTransformer.from_pretrained(folder, filename='other.pt')
    with pytest.raises(ValueError, match=r"'filename' must name .* \(got None\)"):
        RelationalTransformer.from_pretrained('stanford-star/rt-v1')

    def load(name):
        return RelationalTransformer.from_pretrained(folder, filename=name)

    (folder / 'cut.pt').write_bytes((folder / FILE).read_bytes()[:1000])
    (folder / 'cut.safetensors').write_bytes(b'12345678')
    torch.save({'model': HashingTextEncoder()}, folder / 'code.pt')
    for name in ('cut.pt', 'cut.safetensors', 'code.pt'):
        with pytest.raises(ValueError, match='holds no weights, more than weights'):
            load(name)

    torch.save({'lin.weight': torch.ones(2)}, folder / 'mlp.pt')
    with pytest.raises(ValueError, match=r'neither of RT v1 nor of RT-J.*lin\.weight'):
        load('mlp.pt')
    state_dict = to_official(random_model('rt_v1'))
    del state_dict['dec_dict.number.bias']
    torch.save(state_dict, folder / 'less.pt')
    with pytest.raises(ValueError, match=r'less.pt.: the .* missing: dec_dict.number'):
        load('less.pt')


class L12(HashingTextEncoder):
    def __init__(self):
        super().__init__(channels=6)
        self.name = 'sentence-transformers/all-MiniLM-L12-v2'


def test_text_encoder_is_demanded(v1, tmp_path):
    _, folder = v1
    model = RelationalTransformer.from_pretrained(folder, filename=FILE)
    with pytest.raises(ValueError) as info:
        RelationalPredictor(model, text_encoder=HashingTextEncoder(channels=6))
    assert "'all-MiniLM-L12-v2' (got 'hashing-6-0')" in str(info.value)
    predictor = RelationalPredictor(model, text_encoder=L12())
    predictor.save_pretrained(tmp_path / 'run')
    loaded, settings = load_checkpoint(tmp_path / 'run')
    same(model, loaded)
    assert loaded.text_encoder == 'all-MiniLM-L12-v2'
    assert settings['text_encoder'] == L12().identity()
    free = random_model('rt_v1', text_encoder=None)
    RelationalPredictor(free, text_encoder=HashingTextEncoder(channels=6))


def test_encoder_of_the_model_is_the_default(monkeypatch):
    from torch_geometric_rfm import predictor as module

    asked = []

    def get_text_encoder(encoder):
        asked.append(encoder)
        return L12()

    monkeypatch.setattr(module, 'get_text_encoder', get_text_encoder)
    RelationalPredictor(random_model('rt_j'))
    assert asked == ['all-MiniLM-L12-v2']


def test_checkpoint_without_the_later_options(tmp_path):
    model = RelationalTransformer(8, 1, 2, 16, text_channels=4)
    save_checkpoint(tmp_path, model, {})
    path = tmp_path / 'config.json'
    lines = path.read_text().splitlines()
    later = ('qk_norm', 'gate', 'log_scale', 'boolean_as_number', 'text_encoder')
    kept = [line for line in lines if not line.strip().startswith(later, 1)]
    assert len(lines) - len(kept) == 5
    path.write_text('\n'.join(kept))
    loaded, _ = load_checkpoint(tmp_path)
    assert loaded.config == model.config
