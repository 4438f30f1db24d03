import pytest
import torch

from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.nn.models.key_map import (
    from_official,
    official_parts,
    to_official,
    unwrap,
)

SIZES = {'channels': 16, 'num_layers': 2, 'ff_channels': 24, 'text_channels': 6}


def random_model(name, **overrides):
    model = getattr(RelationalTransformer, name)(**(SIZES | overrides))
    with torch.no_grad():
        for param in model.parameters():
            param.normal_()
    return model


V1_KEYS = {
    'enc_dict.boolean.weight': [16, 1],
    'enc_dict.col_name.bias': [16],
    'norm_dict.text.weight': [16],
    'mask_embs.datetime': [16],
    'blocks.1.norms.full.weight': [16],
    'blocks.1.norms.ffn.weight': [16],
    'blocks.0.attns.feat.wq.weight': [16, 16],
    'blocks.0.attns.full.wo.weight': [16, 16],
    'blocks.1.ffn.w2.weight': [16, 24],
    'norm_out.weight': [16],
    'dec_dict.text.weight': [6, 16],
    'dec_dict.boolean.bias': [1],
}
J_KEYS = {
    'enc_dict.datetime.weight': [16, 1],
    'norm_dict.col_name.scale': [16],
    'mask_embs.text': [16],
    'blocks.1.norms.col.scale': [16],
    'blocks.0.attns.nbr.q_norm.scale': [2],
    'blocks.0.attns.nbr.k_norm.scale': [2],
    'blocks.0.attns.col.scale': [1, 8, 1, 1],
    'blocks.0.attns.feat.wg.weight': [16, 16],
    'norm_out.scale': [16],
}


@pytest.mark.parametrize(
    ('name', 'keys', 'count'), [('rt_v1', V1_KEYS, 76), ('rt_j', J_KEYS, 84)]
)
def test_state_dicts_round_trip_key_by_key(name, keys, count):
    model = random_model(name)
    official = to_official(model)
    assert len(official) == count
    for key, size in keys.items():
        assert list(official[key].size()) == size
    total = sum(value.numel() for value in official.values())
    assert total == sum(param.numel() for param in model.parameters())

    state_dict = from_official(official, model.config)
    ours = model.state_dict()
    assert set(state_dict) == set(ours)
    for key, value in state_dict.items():
        assert torch.equal(value, ours[key]), key
    other = random_model(name)
    other.load_state_dict(state_dict)
    for key, value in to_official(other).items():
        assert torch.equal(value, official[key]), key


def test_places_of_parts():
    model = random_model('rt_v1')
    official = to_official(model)
    fused = model.blocks[1].attentions['neighbor'].lin_qkv.weight
    assert torch.equal(official['blocks.1.attns.nbr.wk.weight'], fused[16:32])
    rows = dict(zip(['number', 'boolean', 'datetime', 'text'], range(4), strict=True))
    for kind, row in rows.items():
        expected = model.encoder.mask_embedding[row]
        assert torch.equal(official[f'mask_embs.{kind}'], expected)
    # What is returned can be changed without changing the model.
    official['norm_out.weight'].zero_()
    assert model.norm.weight.all()


def test_number_of_released_tensors():
    with torch.device('meta'):
        assert len(official_parts(RelationalTransformer.rt_v1().config)) == 316
        assert len(official_parts(RelationalTransformer.rt_j().config)) == 394


def test_unwrap():
    value = torch.ones(1)
    for prefix in ('', '_orig_mod.', 'module.', 'module._orig_mod.'):
        state_dict = {f'{prefix}norm_out.weight': value}
        assert unwrap(state_dict) == {'norm_out.weight': value}
        assert unwrap({'model': state_dict, 'step': 3}) == {'norm_out.weight': value}
    with pytest.raises(ValueError, match=r"holds no state dict \(got \['steps'\]\)"):
        unwrap({'steps': 3})
    with pytest.raises(ValueError, match=r'holds no state dict \(got 7\)'):
        unwrap(7)


def test_keys_that_do_not_fit_are_named():
    model = random_model('rt_v1')
    official = to_official(model)
    official['blocks.0.attns.feat.wz.weight'] = official.pop('mask_embs.text')
    official['norm_out.weight'] = torch.zeros(17)
    with pytest.raises(ValueError) as info:
        from_official(official, model.config)
    assert str(info.value) == (
        'the checkpoint does not fit the model: missing: mask_embs.text; unknown: '
        'blocks.0.attns.feat.wz.weight; of another size: norm_out.weight [17] in '
        'place of [16]'
    )
    with pytest.raises(
        ValueError, match=r'missing: enc_dict.number.weight, .* and 68 more'
    ):
        from_official({}, model.config)


def test_booleans_that_rt_j_does_not_use_are_dropped():
    model = random_model('rt_j')
    official = to_official(model)
    official['enc_dict.boolean.weight'] = torch.zeros(16, 1)
    state_dict = from_official(official, model.config)
    assert set(state_dict) == set(model.state_dict())


def test_models_without_an_official_form():
    with pytest.raises(ValueError, match='no parameters for relative_time=True'):
        to_official(random_model('rt_v1', relative_time=True))
    config = random_model('rt_v1').config | {'attentions': ('siblings', 'full')}
    with pytest.raises(
        ValueError, match=r"no parameters for attentions \['siblings'\]"
    ):
        official_parts(config)
