from torch_geometric_rfm.data.text_encoder import TextEncoder
from torch_geometric_rfm.nn import RelationalTransformer


def check_text_encoder(model: RelationalTransformer, encoder: TextEncoder) -> None:
    r"""Checks that a model takes the embeddings of an encoder.

    Args:
        model (RelationalTransformer): The model.
        encoder (TextEncoder): The encoder.

    Raises:
        ValueError: If it was trained with another one, or takes other channels.

    Example:
        >>> from torch_geometric_rfm.data import HashingTextEncoder
        >>> model = RelationalTransformer.small(text_channels=8)
        >>> check_text_encoder(model, HashingTextEncoder(8))
    """
    if model.text_channels != encoder.channels:
        raise ValueError(
            f'the model takes text embeddings of {model.text_channels} channels, '
            f"text encoder '{encoder.name}' gives {encoder.channels}"
        )
    # Of official checkpoints only the name of the text encoder is known.
    if model.text_encoder is None:
        return
    if encoder.name.rstrip('/').split('/')[-1] != model.text_encoder.split('/')[-1]:
        raise ValueError(
            f"the model was trained with the text encoder '{model.text_encoder}' (got "
            f"'{encoder.name}'). Use that one, or train a model of your own, made "
            'with text_encoder=None'
        )
