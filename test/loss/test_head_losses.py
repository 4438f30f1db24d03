import math

import pytest
import torch
from torch_geometric.data import Batch

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.loss import MaskedCellLoss, binned_cross_entropy, pinball_loss
from torch_geometric_rfm.nn import RelationalTransformer, candidate_scores, soft_bins
from torch_geometric_rfm.nn.number_head import LEVELS
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.transforms import MaskCells


def masked_cells(num_contexts=4, **kwargs):
    cells = random_cells(num_contexts, num_cells=40, **kwargs)
    cells = MaskCells('uniform', rate=0.5)(cells)
    # Each category may be any string of the batch.
    columns = cells.column[cells.cell_type == CellType.CATEGORY].unique()
    cells.candidate_embedding = cells.text_embedding.repeat(len(columns), 1)
    size = cells.text_embedding.size(0)
    cells.candidate_column = columns.repeat_interleave(size)
    place = torch.searchsorted(columns, cells.column).clamp(max=len(columns) - 1)
    cells.target_candidate = place * size + cells.target_text_index.clamp(min=0)
    return cells


def model(**kwargs):
    torch.manual_seed(0)
    config = {'text_channels': 8, 'zero_init': False, 'copy_attention': ()}
    small = {'channels': 16, 'num_layers': 1, 'heads': 2, 'ff_channels': 16}
    return RelationalTransformer.small(**(small | config | kwargs)).double()


def doubled(cells):
    return cells.apply(lambda x: x.double() if x.is_floating_point() else x)


@pytest.mark.parametrize('reduction', ['cell', 'context'])
@pytest.mark.parametrize('head', ['value', 'quantile', 'bins'])
def test_every_cell_against_a_plain_loop(head, reduction):
    cells = doubled(masked_cells())
    network = model(number_head=head)
    heads = network(cells, all_heads=True)
    loss_fn = MaskedCellLoss(reduction=reduction, weights={'text': 0.5})
    out = loss_fn(heads, cells)

    h = network.encode(cells)
    losses = {}
    texts = (cells.cell_type == CellType.TEXT).nonzero().view(-1).tolist()
    used = [
        int((cells.text_index if not cells.mask[i] else cells.target_text_index)[i])
        for i in texts
        if not cells.mask[i] or not cells.target[i].isnan()
    ]
    pool = sorted(set(used))
    for i in range(cells.num_nodes):
        target = cells.target[i]
        if not cells.mask[i] or target.isnan():
            continue
        kind = CellType(int(cells.cell_type[i]))
        if kind.is_string:
            vector = network.decoder.decode_text(h[i])
            truth = int(cells.target_text_index[i])
        if kind == CellType.EMBEDDING:
            e = cells.text_embedding[truth]
            norm = (vector @ vector + 0.01).sqrt()
            losses[i] = 1 - vector @ e / e.norm() / norm
        elif kind.is_string:
            names = pool if kind == CellType.TEXT else range(len(cells.text_embedding))
            names = list(names)
            scores = candidate_scores(vector[None], cells.text_embedding[names])[0]
            weight = 0.5 if kind == CellType.TEXT else 1.0
            losses[i] = -weight * scores.log_softmax(0)[names.index(truth)]
        elif kind == CellType.NUMBER and head != 'value':
            raw = network.decoder.lins['number'](h[i])
            if head == 'quantile':
                pairs = zip(LEVELS, target - raw)
                each = [2 * max(t * e, (t - 1) * e) for t, e in pairs]
                losses[i] = sum(each) / len(each)
            else:
                edges = cells.column_quantiles[cells.column[i]][None]
                weight = soft_bins(target[None], edges)[0]
                losses[i] = -(weight * raw.log_softmax(0)).sum()
        elif kind == CellType.BOOLEAN:
            raw = network.decoder.lins['boolean'](h[i])
            sign = 2 * target - 1
            losses[i] = (1 + (-sign * raw).exp()).log().squeeze()
        else:
            raw = network.decoder.lins[kind.name.lower()](h[i]).squeeze()
            error = (raw - target).abs()
            losses[i] = 0.5 * error**2 if error < 1 else error - 0.5
    assert {int(cells.cell_type[i]) for i in losses} == set(range(6))
    if reduction == 'cell':
        expected = sum(losses.values()) / len(losses)
    else:
        parts = {}
        for i, loss in losses.items():
            parts.setdefault(int(cells.batch[i]), []).append(loss)
        expected = sum(sum(part) / len(part) for part in parts.values()) / len(parts)
    assert out.item() == pytest.approx(expected.item(), abs=1e-9)
    assert set(loss_fn.last_figures) == {kind.name.lower() for kind in CellType}
    assert len(loss_fn.column_figures()) == len(
        {cells.phrases[int(cells.column[i])] for i in losses}
    )
    out.backward()
    assert all(not p.grad.isnan().any() for p in network.parameters())


def test_values_of_all_heads_are_those_of_forward():
    cells = doubled(masked_cells())
    for head in ('value', 'quantile', 'bins'):
        network = model(number_head=head)
        heads = network(cells, all_heads=True)
        expected = network(cells, hidden_only=True)[cells.predict_mask]
        assert torch.allclose(heads.value, expected)
        assert torch.allclose(network(cells)[cells.predict_mask], expected)


def test_values_and_heads_lose_the_same_where_no_string_counts():
    cells = doubled(masked_cells())
    network = model()
    weights = {'category': 0, 'text': 0, 'embedding': 0}
    loss_fn = MaskedCellLoss(weights=weights)
    first = loss_fn(network(cells, all_heads=True), cells)
    assert torch.isclose(first, MaskedCellLoss()(network(cells), cells))


def test_equal_texts_of_several_contexts_are_one_candidate():
    # Every context brings its own copies of the same five strings.
    cells = random_cells(num_cells=60, seed=3)
    cells = Batch.from_data_list([cells] * 3)
    cells = MaskCells('uniform', rate=0.5)(cells)
    loss_fn = MaskedCellLoss()
    heads = model(zero_init=True).float()(cells, all_heads=True)
    loss_fn(heads, cells)
    # All scores are equal at first, so that the loss counts the candidates.
    is_text = cells.cell_type == CellType.TEXT
    index = torch.where(cells.mask, cells.target_text_index, cells.text_index)
    count = (index[is_text] % 5).unique().numel()
    loss = loss_fn.last_figures['text'].item()
    assert loss == pytest.approx(math.log(count), abs=1e-5)
    mrr = loss_fn.last_retrieval['text_mrr'].item()
    assert mrr == pytest.approx(2 / (count + 1))
    assert 'category' not in loss_fn.last_figures  # They have no candidates.


def test_retrieval_is_perfect_for_the_truth():
    cells = masked_cells(num_texts=9)
    network = model().float()
    heads = network(cells, all_heads=True)
    strings = heads.index[heads.cell_type >= CellType.CATEGORY]
    truth = cells.text_embedding[cells.target_text_index[strings].clamp(min=0)]
    mean = cells.text_embedding.mean(dim=0)
    heads.embedding = 100 * (truth - mean) / (truth - mean).norm(dim=1, keepdim=True)
    loss_fn = MaskedCellLoss()
    loss_fn(heads, cells)
    for name in ('category_recall@1', 'category_mrr'):
        assert loss_fn.last_retrieval[name].item() == 1.0


def test_no_cell_counts():
    cells = masked_cells()
    cells.target = torch.full_like(cells.target, math.nan)
    network = model().float()
    loss_fn = MaskedCellLoss()
    out = loss_fn(network(cells, all_heads=True), cells)
    assert out.item() == 0.0
    assert loss_fn.last_skipped == 4
    out.backward()


def test_pinball_loss_is_least_at_the_quantiles():
    target = torch.randn(20_000, dtype=torch.double)
    levels = torch.tensor(LEVELS, dtype=torch.double)
    best = target.quantile(levels)
    least = pinball_loss(best.expand(len(target), -1), target, levels).mean()
    for shift in (-0.1, 0.1):
        moved = (best + shift).expand(len(target), -1)
        assert pinball_loss(moved, target, levels).mean() > least
    median = pinball_loss(target.new_zeros(1, 1), target[:1], levels[9:10])
    assert torch.isclose(median, target[:1].abs()).all()


def test_binned_cross_entropy_is_least_at_the_truth():
    edges = torch.linspace(-2, 2, 33, dtype=torch.double).unsqueeze(0)
    target = torch.tensor([0.3], dtype=torch.double)
    weight = soft_bins(target, edges)
    least = -(weight[weight > 0] * weight[weight > 0].log()).sum()
    logits = weight.clamp(min=1e-30).log()
    assert torch.isclose(binned_cross_entropy(logits, target, edges)[0], least)
    assert binned_cross_entropy(torch.zeros_like(edges), target, edges)[0] > least


@pytest.mark.parametrize('reduction', ['cell', 'context'])
def test_hidden_links_count_beside_cells(reduction):
    cells = random_cells(4, num_cells=60)
    cells = MaskCells({'uniform': 1, 'foreign_key': 1}, rate=0.4)(cells)
    # The children of hidden links lead to the same parents by another key.
    cells.fkey_index = torch.cat([cells.fkey_index, cells.fkey_target_index], dim=1)
    cells.fkey_type = torch.cat([cells.fkey_type, cells.fkey_target_type + 2])
    cells.fkey_embedding = torch.randn(int(cells.fkey_type.max()) + 1, 8)
    cells = doubled(cells)
    network = model(link_head=True)
    heads = network(cells, all_heads=True)
    # What is said of cells does not depend on the links that are scored beside.
    torch.testing.assert_close(heads.value, network(cells)[heads.index])
    assert model()(cells, all_heads=True).links is None

    weights = {'link': 0.25, 'text': 0}
    loss_fn = MaskedCellLoss(reduction=reduction, weights=weights)
    out = loss_fn(heads, cells)
    score, candidates = heads.links
    losses, first = [[] for _ in range(cells.num_contexts)], []
    context = cells.row_context[cells.fkey_target_index[0]].tolist()
    for link in range(candidates.num_links):
        chosen = candidates.link == link
        child, parent = cells.fkey_target_index[:, link].tolist()
        others = int(
            ((cells.fkey_index[1] == parent) & (cells.fkey_index[0] != child)).sum()
        )
        if int(chosen.sum()) > 1 and others:
            truth = candidates.truth[chosen]
            loss = -score[chosen].float().log_softmax(0)[truth].squeeze()
            losses[context[link]].append(0.25 * loss.double())
            rivals = score[chosen][~truth]
            first.append(bool((rivals < score[chosen][truth]).all()))
    assert 0 < len(first) < candidates.num_links
    of_links = torch.stack([x for part in losses for x in part]) / 0.25
    torch.testing.assert_close(loss_fn.last_figures['link'].double(), of_links.mean())
    recall = float(loss_fn.last_retrieval['link_recall@1'])
    assert recall == pytest.approx(sum(first) / len(first))

    of_cells = MaskedCellLoss(weights=weights)
    known = cells.mask & ~cells.target.isnan()
    for i in known.nonzero().view(-1).tolist():
        alone = cells.clone()
        alone.target = cells.target.masked_fill(
            torch.arange(known.numel()) != i, math.nan
        )
        loss = of_cells(network(cells)[:], alone)
        if of_cells.last_figures:
            losses[int(cells.batch[i])].append(loss)
    if reduction == 'cell':
        expected = torch.stack([x for part in losses for x in part]).mean()
    else:
        expected = torch.stack([torch.stack(x).mean() for x in losses if x]).mean()
    torch.testing.assert_close(out, expected)

    # Links alone, then nothing:
    alone = cells.clone()
    alone.target = torch.full_like(cells.target, math.nan)
    loss = MaskedCellLoss()(network(alone, all_heads=True), alone)
    torch.testing.assert_close(loss.double(), of_links.mean())
    nothing = MaskedCellLoss(weights={'link': 0})
    loss = nothing(network(alone, all_heads=True), alone)
    loss.backward()
    assert loss.item() == 0
    assert nothing.last_skipped == cells.num_contexts
