"""Text encoders as what a run starts from: one input, its own mask, and what is refused."""

import shutil

import numpy as np
import pytest

from tfcompress import backbones, encoders
from tfcompress.backbones import TextConfig
from tfcompress.goals import Classes
from tfcompress.packaged_files import WeightsError
from tfcompress.registry import UnknownNameError
from tfcompress.tokenizer import TokenizerError

TEXTS = ["a good film", "the plot was not very dull and not bad ."]


def built(folder, *, length=8, **settings):
    source = backbones.opened(TextConfig(f"encoder:{folder}", sequence_length=length, **settings))
    model = source.build_model(goal=Classes(("a", "b")), image_shape=(), seed=0, keep_head=False)
    return source, model


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize("pooling", ["auto", "pooler", "mean"])
def test_the_model_is_flat_with_one_input(tiny_encoder, pooling):
    source, model = built(tiny_encoder, pooling=pooling)
    assert (model.input_names, model.input_shape) == (["token_ids"], (None, 8))
    assert model.output_shape == (None, 2)
    assert model.layers[-1].name == "logits"
    names = {layer.name for layer in model.layers}
    assert ("pooler/dense" in names) == (pooling != "mean")
    found = source.tokenize(TEXTS)
    assert found.cut == 1
    assert source.preprocessing(()).apply(found.ids) is found.ids


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_padding_changes_nothing(tiny_encoder, pooling):
    settings = {"pooling": pooling, "dropout": 0.0}
    short, long = built(tiny_encoder, length=6, **settings), built(tiny_encoder, **settings)
    long[1].set_weights(short[1].get_weights())
    outputs = [model(source.tokenize(TEXTS[:1]).ids).numpy() for source, model in (short, long)]
    np.testing.assert_allclose(*outputs, atol=1e-5)


def test_the_mean_is_that_of_the_tokens(tiny_encoder):
    source, model = built(tiny_encoder, pooling="mean", dropout=0.0)
    ids = source.tokenize(TEXTS).ids
    names = ["layer_1/feed_forward/normalization", "mean/joined"]
    hidden, mean = encoders.with_outputs(model, names)(ids)
    kept = (ids != 0)[..., None]
    np.testing.assert_allclose(mean, (hidden * kept).numpy().sum(1) / kept.sum(1), atol=1e-5)


def test_transfer_freezes_layers_as_of_any_model(tiny_encoder):
    _, model = built(tiny_encoder)
    backbones.set_transfer_mode(model, "linear_probe")
    assert [weight.shape.as_list() for weight in model.trainable_weights] == [[8, 2], [2]]
    backbones.set_transfer_mode(model, "fine_tune", last_layers=1)
    trained = {layer.name for layer in model.layers if layer.weights and layer.trainable}
    assert trained == {"pooler/dense", "logits"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "bert"}, "Unknown text encoder: 'bert'. Known: minilm_l6, encoder:FOLDER"),
        ({"name": "encoder:"}, "a folder that is there. Received: 'encoder:'"),
        ({"name": "encoder:nowhere"}, "a folder that is there. Received: 'encoder:nowhere'"),
        ({"sequence_length": 513}, "from 1 to 512, the positions that minilm_l6 has"),
        ({"sequence_length": 0}, "from 1 to 512"),
        ({"shorter_lengths": (32, 16)}, r"below 64, ascending, .* Received: \(32, 16\)"),
        ({"shorter_lengths": (64,)}, r"from 1 up to below 64"),
        ({"shorter_lengths": [16]}, r"Received: \[16\]"),
        ({"pooling": "max"}, "pooling of a text encoder"),
        ({"weights": "imagenet"}, "weights of a text encoder"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TextConfig(**settings)


def test_a_length_beyond_the_positions_is_refused(tiny_encoder):
    with pytest.raises(ValueError, match="from 1 to 16, the positions"):
        TextConfig(f"encoder:{tiny_encoder}", sequence_length=17)
    short = TextConfig(f"encoder:{tiny_encoder}", sequence_length=8, shorter_lengths=(2,))
    with pytest.raises(ValueError, match="length must be above 2"):
        backbones.opened(short)
    with pytest.raises(ValueError, match="length must be above 2"):
        backbones.opened(TextConfig(f"encoder:{tiny_encoder}", sequence_length=2))


def test_a_tokenizer_of_another_model_is_refused(tiny_encoder, tmp_path):
    folder = copied(tiny_encoder, tmp_path)
    words = (folder / "vocab.txt").read_text()
    (folder / "vocab.txt").write_text(words + "more\n")
    with pytest.raises(TokenizerError, match=r"has 21 tokens, the encoder .* a table of 20"):
        backbones.opened(TextConfig(f"encoder:{folder}", sequence_length=8))
    (folder / "vocab.txt").unlink()
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        backbones.opened(TextConfig(f"encoder:{folder}", sequence_length=8))


def test_a_truncated_checkpoint_is_refused(tiny_encoder, tmp_path):
    folder = copied(tiny_encoder, tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model.safetensors"):
        built(folder)


def test_an_unknown_backbone_lists_those_for_texts_too():
    with pytest.raises(UnknownNameError, match="For texts: minilm_l6, encoder:FOLDER"):
        backbones.load_family("roberta")


def test_an_encoder_has_no_head_of_its_own(tiny_encoder):
    source = backbones.opened(TextConfig(f"encoder:{tiny_encoder}", sequence_length=8))
    with pytest.raises(ValueError, match="no head of its own"):
        source.build_model(goal=Classes(("a", "b")), image_shape=(), seed=0, keep_head=True)


def test_a_smaller_student_begins_with_its_teacher_and_reads_the_same_ids(tiny_encoder):
    source, teacher = built(tiny_encoder, dropout=0.0)
    goal = Classes(("a", "b"))
    student = source.build_smaller(teacher, layers=1, width=1.0, goal=goal, seed=0)
    assert (student.input_names, student.output_shape) == (["token_ids"], (None, 2))
    assert student.name.endswith("_1x8")
    for ours, theirs in (
        ("embeddings/words", "embeddings/words"),
        ("layer_0/attention/value", "layer_1/attention/value"),
        ("pooler/dense", "pooler/dense"),
        ("logits", "logits"),
    ):
        arrays = zip(
            student.get_layer(ours).get_weights(),
            teacher.get_layer(theirs).get_weights(),
            strict=True,
        )
        for own, other in arrays:
            np.testing.assert_array_equal(own, other)


def test_a_published_student_has_weights_of_its_own_and_the_teachers_tokens(tiny_encoder, tmp_path):
    source, teacher = built(tiny_encoder)
    folder = copied(tiny_encoder, tmp_path)
    goal = Classes(("a", "b"))
    student = source.build_other(f"encoder:{folder}", goal=goal, seed=0)
    np.testing.assert_array_equal(
        student.get_layer("embeddings/words").get_weights()[0],
        teacher.get_layer("embeddings/words").get_weights()[0],
    )
    words = (folder / "vocab.txt").read_text()
    (folder / "vocab.txt").write_text(words.replace("good\ngreat", "great\ngood"))
    with pytest.raises(TokenizerError, match=r"otherwise: 2 \('good', 'great'\); padding: 0 and 0"):
        source.build_other(f"encoder:{folder}", goal=goal, seed=0)
