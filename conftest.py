import atexit
import os
import shutil
import tempfile

# Set before anything reads them: tests never reach for the network, and never
# find what another run has left in the cache of text embeddings.
_cache_dir = tempfile.mkdtemp(prefix='torch_geometric_rfm-')
atexit.register(shutil.rmtree, _cache_dir, ignore_errors=True)
os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TORCH_GEOMETRIC_RFM_CACHE'] = _cache_dir
