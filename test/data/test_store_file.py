import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from torch_geometric_rfm.data import CellStore, HashingTextEncoder
from torch_geometric_rfm.data.store_file import read_store_file, write_store_file
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import toy_task, toy_task_store

# A process which holds a store that it saves to the path of its argument:
HOLDER = """
import os, resource, signal, sys
from torch_geometric_rfm.data import atomic_file
from torch_geometric_rfm.testing import toy_task_store

store = toy_task_store('regression').store
path, fate = sys.argv[1:]
if fate == 'full':
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
if fate == 'killed':
    replace = os.replace
    os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
try:
    store.save(path)
except OSError as error:
    print(error)
    sys.exit(7)
"""


@pytest.fixture
def store():
    return toy_task_store('regression').store


def save_elsewhere(path, fate):
    command = [sys.executable, '-c', HOLDER, str(path), fate]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
@pytest.mark.parametrize('mmap', [True, False])
def test_a_loaded_store_gives_the_same_contexts(store, tmp_path, mmap):
    path = tmp_path / 'new' / 'toy.store'
    store.save(path)
    loaded = CellStore.load(path, mmap=mmap)
    assert repr(loaded) == repr(store)
    assert loaded.cutoff == store.cutoff
    for name, array in store.arrays._asdict().items():
        other = getattr(loaded.arrays, name)
        assert array.dtype == other.dtype
        assert array.tobytes() == other.tobytes(), name
    assert (str(path) in Path('/proc/self/maps').read_text()) == mmap
    batches = []
    for one in (store, loaded):
        loader = ContextLoader(one.with_task(toy_task(kind='regression')), num_cells=40)
        batches.append(next(iter(loader)))
    for key, value in batches[0].to_dict().items():
        if torch.is_tensor(value):
            assert torch.equal(value.nan_to_num(7.0), batches[1][key].nan_to_num(7.0))
    assert [p.name for p in path.parent.iterdir()] == ['toy.store']


def test_a_store_may_be_replaced_while_it_is_mapped(store, tmp_path):
    store.save(tmp_path / 'toy.store')
    loaded = CellStore.load(tmp_path / 'toy.store')
    before = loaded.arrays.numbers.copy()
    store.arrays.numbers[:] = 5.0
    store.save(tmp_path / 'toy.store')
    assert loaded.arrays.numbers.tobytes() == before.tobytes()
    again = CellStore.load(tmp_path / 'toy.store')
    assert (again.arrays.numbers == 5).all()


def test_what_is_written_to_a_mapped_store_stays_private(store, tmp_path):
    store.save(tmp_path / 'toy.store')
    CellStore.load(tmp_path / 'toy.store').arrays.numbers[:] = 5.0
    again = CellStore.load(tmp_path / 'toy.store')
    assert again.arrays.numbers.tobytes() == store.arrays.numbers.tobytes()


def test_every_edited_byte_is_noticed(store, tmp_path):
    path = tmp_path / 'toy.store'
    store.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], 'little')
    for place in [header, len(content) - 1, *rng.integers(header, len(content), 10)]:
        edited = bytearray(content)
        edited[place] ^= 1
        path.write_bytes(edited)
        with pytest.raises(ValueError, match='damaged.*does not have the checksum'):
            CellStore.load(path)
    CellStore.load(path, verify=False)


@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_store_is_refused(store, tmp_path, share):
    path = tmp_path / 'toy.store'
    store.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match='no store, or it is truncated'):
        CellStore.load(path, verify=False)


def test_a_full_disk_leaves_the_earlier_store(store, tmp_path):
    path = tmp_path / 'toy.store'
    store.arrays.numbers[:] = 3.0
    store.save(path)
    done = save_elsewhere(path, 'full')
    assert done.returncode == 7
    assert 'could not be written' in done.stdout
    assert (CellStore.load(path).arrays.numbers == 3).all()
    assert [p.name for p in tmp_path.iterdir()] == ['toy.store']


def test_a_killed_build_leaves_the_earlier_store(store, tmp_path):
    path = tmp_path / 'toy.store'
    store.arrays.numbers[:] = 3.0
    store.save(path)
    assert save_elsewhere(path, 'killed').returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert (CellStore.load(path).arrays.numbers == 3).all()
    store.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ['toy.store']


def test_errors(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no store .*CellStore\.save'):
        CellStore.load(tmp_path / 'none')
    other = tmp_path / 'other'
    other.write_text('a diary')
    with pytest.raises(FileExistsError, match='exists and is not a store'):
        store.save(other)
    assert other.read_text() == 'a diary'
    with pytest.raises(FileExistsError, match='exists and is not a store'):
        store.save(tmp_path)
    with pytest.raises(ValueError, match='no store, or it is truncated'):
        CellStore.load(other)
    store.save(tmp_path / 'toy.store')
    with pytest.raises(ValueError, match='Expected the text encoder'):
        CellStore.load(tmp_path / 'toy.store', text_encoder=HashingTextEncoder(seed=1))
    tensors, settings = read_store_file(tmp_path / 'toy.store', False, True)
    from safetensors.torch import save_file

    save_file(tensors, other, metadata={'format': 'pt'})
    with pytest.raises(ValueError, match='is not a store of this package'):
        read_store_file(other, mmap=True, verify=True)
    for name, other_version in (('earlier', b'1'), ('later', b'3')):
        write_store_file(tmp_path / name, tensors, settings)
        content = (tmp_path / name).read_bytes()
        version = b'"format_version":"2"'
        assert version in content
        (tmp_path / name).write_bytes(
            content.replace(version, version.replace(b'2', other_version))
        )
    with pytest.raises(ValueError, match='has format 3, this version reads 2'):
        CellStore.load(tmp_path / 'later')
    with pytest.raises(ValueError, match='has format 1, this version reads 2. Build'):
        CellStore.load(tmp_path / 'earlier')
