import torch

from torch_geometric_rfm.nn import candidate_scores


def test_scores_against_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(6, 5, generator=generator, dtype=torch.double)
    candidates = torch.randn(7, 5, generator=generator, dtype=torch.double)
    group = torch.tensor([3, 0, 3, 0, 9, 3])
    candidate_group = torch.tensor([0, 3, 0, 3, 3, 9, 9])
    out = candidate_scores(embedding, candidates, group, candidate_group)
    assert out.size() == (6, 7)
    for i in range(6):
        for k in range(7):
            if group[i] != candidate_group[k]:
                assert out[i, k] == -torch.inf
                continue
            own = candidates[candidate_group == group[i]]
            e = candidates[k] - own.mean(dim=0)
            expected = embedding[i] @ (e / e.norm()) / 5**0.5
            assert torch.isclose(out[i, k], expected)
    alone = candidate_scores(embedding[group == 3], candidates[candidate_group == 3])
    both = out[group == 3][:, candidate_group == 3]
    assert torch.allclose(alone, both)


def test_equal_and_lone_candidates():
    embedding = torch.tensor([[2.0, 1.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    out = candidate_scores(embedding, candidates)
    assert out[0, 0] == out[0, 2] != out[0, 1]
    # The only value of a column: certain whatever is predicted, and no NaN.
    out = candidate_scores(embedding.requires_grad_(), candidates[:1])
    assert out.softmax(dim=1).tolist() == [[1.0]]
    out.sum().backward()
    assert not embedding.grad.isnan().any()
    # Nothing to choose from, as in batches without categories to predict.
    none = torch.zeros(0, dtype=torch.long)
    assert candidate_scores(embedding[:0], candidates[:0], none, none).size() == (0, 0)
