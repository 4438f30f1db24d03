import pytest

from torch_geometric_rfm.data import HashingTextEncoder
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train.check_text_encoder import check_text_encoder


def model(**options):
    return RelationalTransformer(8, 1, 1, 8, text_channels=8, **options)


def test_embeddings_of_other_channels_are_refused():
    check_text_encoder(model(), HashingTextEncoder(8))
    with pytest.raises(ValueError, match="of 8 channels, .*'hashing-16-0' gives 16"):
        check_text_encoder(model(), HashingTextEncoder(16))


def test_another_name_is_refused_but_for_its_organisation():
    check_text_encoder(
        model(text_encoder='some-org/hashing-8-0'), HashingTextEncoder(8)
    )
    with pytest.raises(ValueError, match="encoder 'other' .got 'hashing-8-0'."):
        check_text_encoder(model(text_encoder='other'), HashingTextEncoder(8))
