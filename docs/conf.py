import importlib
import pkgutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

import torch_geometric_rfm  # noqa: E402

project = 'torch_geometric_rfm'
author = 'torch_geometric_rfm contributors'
copyright = '2026, torch_geometric_rfm contributors'
version = release = torch_geometric_rfm.__version__

extensions = [
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'torch_geometric_rfm {version}'
html_static_path = ['_static']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autosummary_generate = False
napoleon_custom_sections = ['Shapes']
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def write_api_pages():
    r"""Writes a page for each subpackage whose ``__all__`` says what is public."""
    folder = DOCS / 'api' / 'generated'
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for info in pkgutil.iter_modules(torch_geometric_rfm.__path__):
        module = importlib.import_module(f'torch_geometric_rfm.{info.name}')
        public = list(getattr(module, '__all__', []))
        if info.name == 'predictor':
            public = ['RelationalPredictor']
        if public:
            wanted[f'{info.name}.rst'] = api_page(module, public)
    for path in folder.glob('*.rst'):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def api_page(module, public):
    name = module.__name__
    members = []
    for member in public:
        kind = 'autoclass' if isinstance(getattr(module, member), type) else 'autodata'
        if kind == 'autodata' and callable(getattr(module, member)):
            kind = 'autofunction'
        options = '\n   :members:' if kind == 'autoclass' else ''
        members.append(f'.. {kind}:: {member}{options}\n')
    return f"""{name}
{'=' * len(name)}

.. automodule:: {name}
   :no-members:

.. currentmodule:: {name}

.. autosummary::
   :nosignatures:

   {(chr(10) + '   ').join(public)}

{chr(10).join(members)}"""


def setup(app):
    app.connect('config-inited', lambda app, config: write_api_pages())
