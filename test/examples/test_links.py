import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_links(run):
    out = run('links.py', '--limit', 4, '--num_cells', 64)
    found = re.search(r'hidden links: ([\d.]+)% found among (\d+) rows', out)
    assert 0 <= float(found[1]) <= 100
    assert int(found[2]) > 5
    scores = dict(re.findall(r'^(\w+) +(0\.\d{4})$', out, re.M))
    assert list(scores)[-1] == 'model'
    assert float(scores['recent_popularity']) > 0.8
    # More than a random list of circuits would have.
    assert float(scores['model']) > 0.4
    assert len(re.findall(r'2010-01-01', out)) == 5
