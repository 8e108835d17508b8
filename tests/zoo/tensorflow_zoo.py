# SPDX-License-Identifier: Apache-2.0
"""Keras models of every kind of layer, SavedModels with what only TensorFlow has, and keras.applications.

Weights are random. Applications are built on small images, without their head where a smaller one is allowed.
"""

__all__ = ["cases"]

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from support.zoo import ZooCase, ZooSource

FAMILY = "TensorFlow"
_VANISHING = 1e-3  # ten times what may differ

# The side of the square images, in pixels; the architectures with fixed ones need what they were made for.
_APPLICATIONS = {
    "ConvNeXtBase": 64,
    "ConvNeXtLarge": 64,
    "ConvNeXtSmall": 64,
    "ConvNeXtTiny": 64,
    "ConvNeXtXLarge": 64,
    "DenseNet121": 64,
    "DenseNet169": 64,
    "DenseNet201": 64,
    "EfficientNetB0": 64,
    "EfficientNetB1": 64,
    "EfficientNetB2": 64,
    "EfficientNetB3": 64,
    "EfficientNetB4": 64,
    "EfficientNetB5": 64,
    "EfficientNetB6": 64,
    "EfficientNetB7": 64,
    "EfficientNetV2B0": 64,
    "EfficientNetV2B1": 64,
    "EfficientNetV2B2": 64,
    "EfficientNetV2B3": 64,
    "EfficientNetV2L": 64,
    "EfficientNetV2M": 64,
    "EfficientNetV2S": 64,
    "InceptionResNetV2": 96,
    "InceptionV3": 96,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Large": 64,
    "MobileNetV3Small": 64,
    "NASNetLarge": 331,
    "NASNetMobile": 224,
    "ResNet101": 64,
    "ResNet101V2": 64,
    "ResNet152": 64,
    "ResNet152V2": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "VGG16": 64,
    "VGG19": 64,
    "Xception": 96,
}


def cases() -> Iterable[ZooCase]:
    """Some seventy models."""
    for name, make in _KERAS.items():
        yield ZooCase(family=FAMILY, name=f"keras/{name}", build=partial(_build_keras, make))
    for name, build in _SAVED.items():
        yield ZooCase(family=FAMILY, name=f"saved model/{name}", build=build)
    for name, side in _APPLICATIONS.items():
        yield ZooCase(family=FAMILY, name=f"applications/{name}", build=partial(_build_application, name, side))


def _frameworks() -> tuple[Any, Any]:
    """Keras on TensorFlow, seeded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(20)
    return keras, tf


def _build_keras(make: Callable[[Any], Any], folder: Path) -> ZooSource:
    keras, _ = _frameworks()
    made = make(keras)
    model, rows = made if isinstance(made, tuple) else (made, None)
    model.save(folder / "source.keras")
    if rows is None:
        return ZooSource(source=str(folder / "source.keras"))
    np.savez(folder / "rows.npz", **rows)
    return ZooSource(source=str(folder / "source.keras"), sample=folder / "rows.npz")


def _build_application(name: str, side: int, folder: Path) -> ZooSource:
    keras, _ = _frameworks()
    make = getattr(keras.applications, name)
    whole = name.startswith("NASNet")
    model = make(weights=None, input_shape=(side, side, 3), include_top=whole, **({} if whole else {"pooling": "avg"}))
    images = np.random.default_rng(20).uniform(0, 255, (24, side, side, 3)).astype(np.float32)
    _normalise_by(images, model, keras)
    model.save(folder / "source.keras")
    np.save(folder / "images.npy", images[:4])
    return ZooSource(source=str(folder / "source.keras"), sample=folder / "images.npy")


def _normalise_by(images: Any, model: Any, keras: Any) -> None:
    """Where the answers of a new model vanish, statistics of images as after training: else all would agree."""
    if float(np.abs(model(images[:1], training=False)).max()) > _VANISHING:
        return
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum


# --- Keras -----------------------------------------------------------------------------------------------------------


def _sequential(shape: tuple[int | None, ...], *layers: Callable[[Any], Any], dtype: str = "float32") -> Any:
    def make(keras: Any) -> Any:
        return keras.Sequential([keras.Input(shape, name="x", dtype=dtype), *(layer(keras.layers) for layer in layers)])

    return make


def _two_inputs(keras: Any) -> Any:
    words, price = keras.Input((6,), name="words", dtype="int32"), keras.Input((2,), name="price")
    seen = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(words))
    both = keras.layers.Concatenate()([seen, price])
    score = keras.layers.Dense(1, name="score")(both)
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(both)
    model = keras.Model([words, price], {"score": score, "kind": kind})
    random = np.random.default_rng(20)
    rows = {"words": random.integers(0, 50, (20, 6), dtype=np.int32), "price": random.normal(size=(20, 2))}
    return model, rows


def _attention(keras: Any) -> Any:
    x = keras.Input((None, 16), name="x")
    seen = keras.layers.MultiHeadAttention(2, 8)(x, x)
    seen = keras.layers.LayerNormalization()(keras.layers.Add()([x, seen]))
    return keras.Model(x, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(seen)))


def _transformer_with_mask(keras: Any) -> Any:
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    x = keras.layers.Embedding(40, 16, mask_zero=True)(tokens)
    x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, 8)(x, x))
    model = keras.Model(tokens, keras.layers.Dense(3)(keras.layers.LSTM(8)(x)))
    rows = np.random.default_rng(20).integers(1, 40, (12, 9), dtype=np.int32)
    rows[:, 6:] = 0
    return model, {"tokens": rows}


def _residual(keras: Any) -> Any:
    x = keras.Input((16, 16, 3), name="pixels")
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.Add()([y, keras.layers.Conv2D(8, 1)(x)])
    return keras.Model(x, keras.layers.Dense(10, activation="softmax")(keras.layers.GlobalMaxPooling2D()(y)))


def _normalized(keras: Any) -> Any:
    rows = np.random.default_rng(20).normal(5, 3, (40, 4)).astype(np.float32)
    layer = keras.layers.Normalization()
    layer.adapt(rows)
    return keras.Sequential([keras.Input((4,), name="x"), layer, keras.layers.Dense(2)]), {"x": rows}


def _text(keras: Any) -> Any:
    texts = np.array([["a quick brown fox"], ["the lazy dog"], ["fox and dog"], [""]])
    layer = keras.layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    layer.adapt(texts)
    layers = [keras.Input((1,), name="text", dtype="string"), layer, keras.layers.Embedding(20, 8)]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)])
    return model, {"text": texts.astype(bytes)}


def _string_lookup(keras: Any) -> Any:
    x = keras.Input((2,), name="colours", dtype="string")
    indices = keras.layers.StringLookup(vocabulary=["red", "green", "blue"])(x)
    model = keras.Model(x, keras.layers.Flatten()(keras.layers.Embedding(5, 3)(indices)))
    return model, {"colours": np.array([[b"red", b"blue"], [b"green", b"pink"], [b"", b"red"]])}


def _integer_lookup(keras: Any) -> Any:
    x = keras.Input((1,), name="codes", dtype="int64")
    model = keras.Model(x, keras.layers.IntegerLookup(vocabulary=[7, 42, 99], output_mode="one_hot")(x))
    return model, {"codes": np.array([[7], [99], [1], [42]])}


def _columns(keras: Any) -> Any:
    colour = keras.Input((1,), name="colour", dtype="string")
    size = keras.Input((1,), name="size")
    known = keras.layers.StringLookup(vocabulary=["red", "green"], output_mode="one_hot")(colour)
    scaled = keras.layers.Normalization(mean=3.0, variance=4.0)(size)
    model = keras.Model([colour, size], keras.layers.Dense(1)(keras.layers.Concatenate()([known, scaled])))
    return model, {"colour": np.array([[b"red"], [b"black"], [b"green"]]), "size": np.array([[1.0], [2], [7]])}


def _autoencoder(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 1), name="image"),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
            layers.UpSampling2D(2, interpolation="bilinear"),
        ]
    )


_KERAS: dict[str, Callable[[Any], Any]] = {
    "dense": _sequential((5,), lambda of: of.Dense(8, activation="gelu"), lambda of: of.Dense(3, activation="softmax")),
    "convolution 1D": _sequential((24, 3), lambda of: of.Conv1D(4, 5, activation="relu"), lambda of: of.Flatten()),
    "convolution 1D, any length": _sequential(
        (None, 3), lambda of: of.Conv1D(4, 3, padding="causal"), lambda of: of.GlobalMaxPooling1D()
    ),
    "convolution 2D": _residual,
    "convolution 2D, any size": _sequential(
        (None, None, 3), lambda of: of.Conv2D(4, 3, strides=2), lambda of: of.GlobalAveragePooling2D()
    ),
    "convolution 3D": _sequential(
        (8, 8, 8, 1), lambda of: of.Conv3D(4, 3), lambda of: of.MaxPooling3D(2), lambda of: of.Flatten()
    ),
    "separable convolution": _sequential(
        (16, 16, 3), lambda of: of.SeparableConv2D(4, 3), lambda of: of.DepthwiseConv2D(3)
    ),
    "transposed convolution": _autoencoder,
    "LSTM": _sequential((10, 4), lambda of: of.LSTM(6), lambda of: of.Dense(2)),
    "LSTM, any length": _sequential((None, 4), lambda of: of.LSTM(6, return_sequences=True), lambda of: of.Dense(2)),
    "GRU": _sequential((10, 4), lambda of: of.GRU(6), lambda of: of.Dense(2)),
    "GRU, any length": _sequential((None, 4), lambda of: of.GRU(6, return_sequences=True)),
    "simple RNN": _sequential((None, 4), lambda of: of.SimpleRNN(6)),
    "bidirectional LSTM": _sequential((None, 4), lambda of: of.Bidirectional(of.LSTM(5)), lambda of: of.Dense(2)),
    "convolutional LSTM": _sequential((4, 8, 8, 2), lambda of: of.ConvLSTM2D(3, 3)),
    "attention, any length": _attention,
    "transformer with padding": _transformer_with_mask,
    "two inputs, two outputs": _two_inputs,
    "integers": _sequential((7,), lambda of: of.Embedding(3, 4), lambda of: of.Flatten(), dtype="int64"),
    "Normalization": _normalized,
    "Rescaling and resizing": _sequential(
        (20, 20, 3), lambda of: of.Rescaling(1 / 127.5, offset=-1), lambda of: of.Resizing(8, 8)
    ),
    "Discretization": _sequential((4,), lambda of: of.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])),
    "CategoryEncoding": _sequential((3,), lambda of: of.CategoryEncoding(3, output_mode="multi_hot"), dtype="int32"),
    "Hashing": _sequential((2,), lambda of: of.Hashing(8), dtype="int64"),
    "TextVectorization": _text,
    "StringLookup": _string_lookup,
    "IntegerLookup": _integer_lookup,
    "strings and numbers": _columns,
    "group, layer and unit normalization": _sequential(
        (6, 8),
        lambda of: of.GroupNormalization(2),
        lambda of: of.LayerNormalization(),
        lambda of: of.UnitNormalization(),
    ),
    "activations": _sequential(
        (6,),
        *(lambda of, name=name: of.Activation(name) for name in ("elu", "selu", "softplus", "swish", "mish", "tanh")),
    ),
    "float64": _sequential((4,), lambda of: of.Dense(3, dtype="float64"), dtype="float64"),
    "float16": _sequential((4,), lambda of: of.Dense(3, dtype="float16"), dtype="float16"),
}


# --- SavedModels -----------------------------------------------------------------------------------------------------


def _save(folder: Path, specs: dict[str, Any], run: Callable[..., Any], **options: Any) -> ZooSource:
    _, tf = _frameworks()
    module = tf.Module()
    module.run = tf.function(run)
    signature = options.pop("signature", "serving_default")
    module.table = options.pop("table", None)
    concrete = module.run.get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder / "saved"), signatures={signature: concrete})
    options["options"] = {"trusted_source": True, **options.get("options", {})}
    return ZooSource(source=str(folder / "saved"), **options)


def _another_signature(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {"x": tf.TensorSpec([None, 3], tf.float32, name="x")}
    return _save(folder, specs, lambda x: {"twice": x * 2}, signature="double", options={"signature": "double"})


def _string_length(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {"text": tf.TensorSpec([None], tf.string, name="text")}
    return _save(folder, specs, lambda text: {"length": tf.strings.length(text), "upper": tf.strings.upper(text)})


def _table(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], dtype=tf.int64))
    table = tf.lookup.StaticHashTable(pairs, default_value=-1)
    specs = {"key": tf.TensorSpec([None, 2], tf.string, name="key")}
    np.savez(folder / "keys.npz", key=np.array([[b"a", b"b"], [b"c", b""]]))
    return _save(folder, specs, lambda key: {"value": table.lookup(key)}, table=table, sample=folder / "keys.npz")


def _sequence_first(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {"x": tf.TensorSpec([None, 4], tf.float32, name="x")}
    return _save(folder, specs, lambda x: {"running": tf.cumsum(x, axis=0)})


def _scalar(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {
        "x": tf.TensorSpec([None, 4], tf.float32, name="x"),
        "threshold": tf.TensorSpec([], tf.float32, name="threshold"),
    }
    return _save(
        folder,
        specs,
        lambda x, threshold: {
            "kept": tf.where(x > threshold, x, 0.0),
            "count": tf.reduce_sum(tf.cast(x > 0, tf.int32)),
        },
    )


def _while_loop(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {"x": tf.TensorSpec([None, 3], tf.float32, name="x")}

    def run(x: Any) -> dict[str, Any]:
        _, y = tf.while_loop(lambda i, _: i < 5, lambda i, y: (i + 1, tf.tanh(y) + x), (tf.constant(0), x))
        return {"y": y}

    return _save(folder, specs, run)


def _no_rank(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {"x": tf.TensorSpec([None, 4], tf.float32, name="x")}

    return _save(folder, specs, lambda x: {"y": tf.compat.v1.placeholder_with_default(x * 2, None)})


def _fft(folder: Path) -> ZooSource:
    _, tf = _frameworks()
    specs = {"x": tf.TensorSpec([None, 16], tf.float32, name="x")}
    return _save(folder, specs, lambda x: {"power": tf.abs(tf.signal.rfft(x)), "sorted": tf.sort(x)})


def _first_version(folder: Path) -> ZooSource:
    """As TensorFlow 1 saved them: a graph and a session."""
    _, tf = _frameworks()
    old = tf.compat.v1
    with tf.Graph().as_default(), old.Session() as session:
        x = old.placeholder(tf.float32, [None, 3], name="x")
        w = old.get_variable("w", initializer=np.arange(6, dtype=np.float32).reshape(3, 2))
        y = old.matmul(x, w)
        session.run(old.global_variables_initializer())
        old.saved_model.simple_save(session, str(folder / "saved"), inputs={"x": x}, outputs={"y": y})
    return ZooSource(source=str(folder / "saved"), options={"trusted_source": True})


_SAVED: dict[str, Callable[[Path], ZooSource]] = {
    "another signature": _another_signature,
    "strings": _string_length,
    "lookup table": _table,
    "rows that depend on one another": _sequence_first,
    "a scalar input and output": _scalar,
    "a loop": _while_loop,
    "an output of unknown rank": _no_rank,
    "Fourier transform and sorting": _fft,
    "TensorFlow 1": _first_version,
}
