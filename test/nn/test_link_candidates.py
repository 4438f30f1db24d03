import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedLinkLoss, SampledSoftmaxLoss
from torch_geometric_rfm.nn import LinkCandidates, LinkDecoder, link_candidates
from torch_geometric_rfm.testing import random_cells, toy_task_store
from torch_geometric_rfm.train.fit_links import draw_candidates
from torch_geometric_rfm.transforms import MaskCells


@pytest.fixture(scope='module')
def cells():
    loader = ContextLoader(
        toy_task_store(),
        num_cells=48,
        batch_size=12,
        transform=MaskCells('foreign_key', rate=0.5),
    )
    return next(iter(loader))


def candidates_of(candidates, link):
    rows = candidates.row[candidates.link == link].tolist()
    return rows, candidates.row[(candidates.link == link) & candidates.truth].tolist()


def test_candidates_of_a_context(cells):
    candidates = link_candidates(cells).check()
    assert candidates.num_links == cells.fkey_target_index.size(1) > 20
    context = cells.row_context
    for link, (child, parent) in enumerate(cells.fkey_target_index.t().tolist()):
        rows, true = candidates_of(candidates, link)
        same = (context == context[child]) & (
            cells.row_table == cells.row_table[parent]
        )
        assert rows == same.nonzero().view(-1).tolist()
        assert true == [parent]
    assert not candidates.log_q.any()


def test_candidates_of_a_batch_are_distinct_rows_of_the_database(cells):
    candidates = link_candidates(cells, within='batch').check()
    identity = list(zip(cells.row_table.tolist(), cells.row_index.tolist()))
    context = cells.row_context.tolist()
    for link, parent in enumerate(cells.fkey_target_index[1].tolist()):
        rows, true = candidates_of(candidates, link)
        table = identity[parent][0]
        expected = {row for row in identity if row[0] == table}
        assert len(rows) == len(expected)
        assert {identity[row] for row in rows} == expected
        assert [identity[row] for row in true] == [identity[parent]]
    for row, log_q in zip(candidates.row.tolist(), candidates.log_q.tolist()):
        held = {c for c, one in zip(context, identity) if one == identity[row]}
        assert math.isclose(math.exp(log_q), len(held) / 12, rel_tol=1e-5)


@pytest.mark.parametrize('sampling', ['random', 'popular'])
def test_sampled_candidates_estimate_the_sum_over_all(cells, sampling):
    full = link_candidates(cells)
    score = torch.randn(cells.num_rows, generator=torch.Generator().manual_seed(0))

    def total(candidates):
        part = (score[candidates.row] - candidates.log_q).exp()
        part = part.masked_fill(candidates.truth, 0.0)
        out = torch.zeros(candidates.num_links)
        return out.index_add(0, candidates.link, part)

    generator = torch.Generator().manual_seed(1)
    draws = []
    for _ in range(400):
        few = link_candidates(cells, 'context', 3, sampling, generator).check()
        count = torch.bincount(few.link, minlength=few.num_links)
        others = torch.bincount(full.link, minlength=full.num_links) - 1
        assert (count == 1 + 3 * (others > 0)).all()
        draws.append(total(few))
    draws = torch.stack(draws)
    error = draws.mean(0) - total(full)
    bound = 5 * draws.std(0) / len(draws) ** 0.5 + 1e-4
    assert (error.abs() < bound).all()


def test_random_candidates_are_uniform(cells):
    full = link_candidates(cells)
    link = int(torch.bincount(full.link).argmax())
    rows, (true,) = candidates_of(full, link)
    generator = torch.Generator().manual_seed(2)
    drawn = []
    for _ in range(200):
        few = link_candidates(cells, 'context', 5, 'random', generator)
        drawn += few.row[(few.link == link) & ~few.truth].tolist()
    counts = [drawn.count(row) for row in rows if row != true]
    assert sum(counts) == 1000
    assert chisquare(counts).pvalue > 1e-4


def test_bad_candidates(cells):
    with pytest.raises(ValueError, match="'within' must be one of"):
        link_candidates(cells, within='database')
    with pytest.raises(ValueError, match="'sampling' must be one of"):
        link_candidates(cells, sampling='often')
    with pytest.raises(ValueError, match="'num_sampled' must be positive"):
        link_candidates(cells, num_sampled=0)
    with pytest.raises(ValueError, match='no hidden links'):
        link_candidates(random_cells())
    link, row = torch.tensor([0, 0]), torch.tensor([4, 5])
    none = LinkCandidates(link, row, torch.tensor([False, False]), torch.zeros(2), 1)
    with pytest.raises(ValueError, match=r'must hold its parent once \(got it 0 times'):
        MaskedLinkLoss()(torch.zeros(2), none)
    twice = none._replace(truth=torch.tensor([True, True]))
    with pytest.raises(ValueError, match='got it 2 times'):
        MaskedLinkLoss()(torch.zeros(2), twice)
    double = none._replace(truth=torch.tensor([True, False]), row=torch.tensor([4, 4]))
    with pytest.raises(ValueError, match='row 4 stands twice'):
        MaskedLinkLoss()(torch.zeros(2), double)
    with pytest.raises(ValueError, match="'score' must have one entry a candidate"):
        MaskedLinkLoss()(torch.zeros(3), none)


def test_masked_link_loss(cells):
    candidates = link_candidates(cells, within='batch')
    score = torch.randn(candidates.row.numel(), dtype=torch.float64)
    loss_fn = MaskedLinkLoss()
    losses, hits = [], []
    for link in range(candidates.num_links):
        chosen = candidates.link == link
        logit = score[chosen].float() - candidates.log_q[chosen]
        if logit.numel() > 1:
            truth = candidates.truth[chosen]
            losses.append(-logit.log_softmax(0)[truth])
            hits.append(bool(truth[logit.argmax()]))
    torch.testing.assert_close(loss_fn(score, candidates), torch.cat(losses).mean())
    figures = loss_fn.figures()
    assert figures['accuracy'] == pytest.approx(sum(hits) / len(hits))
    assert figures['links'] + figures['skipped'] == candidates.num_links


def test_a_link_with_one_candidate_is_skipped():
    score = torch.zeros(1, requires_grad=True)
    zero, true = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.bool)
    loss_fn = MaskedLinkLoss()
    loss = loss_fn(score, LinkCandidates(zero, zero, true, torch.zeros(1), 1))
    loss.backward()
    assert loss.item() == 0
    assert score.grad.tolist() == [0]
    assert loss_fn.figures()['skipped'] == 1


def test_two_keys_to_one_table_differ():
    cells = MaskCells('foreign_key', rate=0.5)(random_cells(num_cells=64))
    candidates = link_candidates(cells)
    decoder = LinkDecoder(16, 8)
    assert str(decoder) == 'LinkDecoder(16, text_channels=8)'
    x = torch.randn(64, 16)
    with pytest.raises(ValueError, match="'fkey_embedding' must be of shape"):
        decoder(x, cells, candidates)
    cells.fkey_embedding = torch.randn(2, 8)
    score = decoder(x, cells, candidates)
    cells.fkey_target_type = 1 - cells.fkey_target_type
    assert not torch.isclose(decoder(x, cells, candidates), score).any()


@pytest.mark.parametrize('negatives', ['random', 'popular'])
def test_sampled_softmax_estimates_the_sum_over_all_destinations(negatives):
    score, size = torch.randn(60, dtype=torch.float64), 60
    rng = np.random.default_rng(0)
    popularity = rng.integers(0, 50, size).astype(float)
    known, truth = rng.permutation(size)[:50], rng.integers(0, size, 4)
    known.sort()
    others = [j for j in known if j not in truth]
    expected = score[others].exp().sum()
    found = []
    for _ in range(600):
        chosen, log_weight = draw_candidates(
            known, [truth], popularity, 16, negatives, rng
        )
        assert len(chosen) <= 16
        assert set(chosen) <= set(known)
        part = (score[chosen] + torch.from_numpy(log_weight)).exp()
        part[[j in truth for j in chosen]] = 0
        found.append(part.sum())
    found = torch.stack(found)
    assert abs(found.mean() - expected) < 5 * found.std() / len(found) ** 0.5


def test_sampled_softmax_loss():
    score = torch.randn(3, 5, requires_grad=True)
    truth = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
    log_weight = torch.tensor([0.0, -torch.inf, 0.7, -0.2, -torch.inf])
    loss = SampledSoftmaxLoss()(score, truth, log_weight)
    terms = []
    for true in (0, 1):
        other = (score[0, 2] + 0.7).exp() + (score[0, 3] - 0.2).exp()
        terms.append(-(score[0, true].exp() / (score[0, true].exp() + other)).log())
    # The second has no other destination, the third no true one and is skipped.
    torch.testing.assert_close(loss, torch.stack(terms).mean() / 2)
    loss.backward()
    assert score.grad.isfinite().all()
    assert not score.grad[2].any()
    assert SampledSoftmaxLoss()(score, torch.zeros(3, 5).bool(), log_weight) == 0


def test_equal_scores_find_nothing():
    cells = MaskCells('foreign_key', rate=0.5)(random_cells(num_contexts=3))
    candidates = link_candidates(cells)
    loss_fn = MaskedLinkLoss()
    loss_fn(torch.zeros(candidates.row.numel()), candidates)
    count = torch.bincount(candidates.link, minlength=candidates.num_links)
    count = count[count > 1].double()
    assert loss_fn.figures()['accuracy'] == 0.0
    expected = float(((count + 1) / 2).mean())
    assert loss_fn.figures()['mean_rank'] == pytest.approx(expected)
