# SPDX-License-Identifier: Apache-2.0
"""Train a small CNN on pictures of handwritten digits, ink on paper, and save what it answers.

``python train.py FOLDER`` takes some ten seconds and writes into FOLDER:

``pictures/``      the test set, a PNG file each, no two of one size
``sample/``        a few pictures of the training set, for ``repo-tool add-pipeline``
``digit_cnn.pt2``, ``digit_cnn.sample.npz``  the network, and rows for ``repo-tool add-model``
``labels.txt``, ``pipeline.yaml``  the pipeline and the file that it names
``test.json``      every picture of the test set with its digit, the three likeliest answers and their probabilities
"""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).parent
SEED = 7
SIDE = 16
MEAN, STD = (0.71, 0.68, 0.69), (0.28, 0.25, 0.09)  # of red, green and blue; also written in pipeline.yaml
PAPER, INK = (242, 230, 196), (38, 44, 132)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EPOCHS, BATCH, SAMPLES = 10, 64, 16
ANSWERS = 3

Pixels = NDArray[np.uint8]


def as_png(strokes: NDArray[np.floating], chance: np.random.Generator) -> bytes:
    """How much ink there is, ``[8, 8]`` between 0 and 1, as somebody's scan of it."""
    paper, ink = (np.array(colour) + chance.integers(-12, 13, 3) for colour in (PAPER, INK))
    pixels = paper + (ink - paper) * strokes[:, :, None]
    size = tuple(map(int, chance.integers(20, 49, 2)))
    scan = Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    scan.save(stream, format="PNG")
    return stream.getvalue()


def preprocess(image: bytes) -> dict[str, NDArray[np.generic]]:
    """What the network was trained on: for ``repo-tool add-pipeline --reference``."""
    with Image.open(io.BytesIO(image)) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    scaled = pixels.astype(np.float32) / np.float32(255)
    normal = (scaled - np.array(MEAN, dtype=np.float32)) / np.array(STD, dtype=np.float32)
    return {"resized": pixels, "tensor": normal.transpose(2, 0, 1)}


def tensors(pictures: list[bytes]) -> NDArray[np.float32]:
    return np.stack([preprocess(picture)["tensor"] for picture in pictures]).astype(np.float32)


def digits() -> tuple[list[bytes], list[bytes], NDArray[np.int64], NDArray[np.int64]]:
    """Pictures for training and for the test, and which digits they show; the same every time."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data, chance = load_digits(), np.random.default_rng(SEED)
    pictures = [as_png(strokes / 16, chance) for strokes in data.images]
    return tuple(train_test_split(pictures, data.target, test_size=0.25, random_state=SEED))


def trained(rows: NDArray[np.float32], answers: NDArray[np.int64]) -> "torch.nn.Module":
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # for so small a network, threads cost more than they bring
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(32 * (SIDE // 4) ** 2, len(WORDS)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    images, targets = torch.from_numpy(rows), torch.from_numpy(answers)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[batch]), targets[batch]).backward()
            optimizer.step()
    return network.eval()


def save_network(network: "torch.nn.Module", rows: NDArray[np.float32], folder: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(network, (torch.zeros(2, 3, SIDE, SIDE),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "digit_cnn.pt2")
    np.savez_compressed(folder / "digit_cnn.sample.npz", input=rows[:64])


def save_pictures(pictures: list[bytes], folder: Path) -> list[str]:
    """Their names within the folder above."""
    folder.mkdir(exist_ok=True)
    names = [f"{index:03}.png" for index in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        (folder / name).write_bytes(picture)
    return [f"{folder.name}/{name}" for name in names]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    train, test, answers, truth = digits()
    rows = tensors(train)
    network = trained(rows, answers)
    with torch.inference_mode():
        probabilities = torch.softmax(network(torch.from_numpy(tensors(test))), dim=1).numpy()
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :ANSWERS]

    save_network(network, rows, folder)
    save_pictures(train[:SAMPLES], folder / "sample")
    names = save_pictures(test, folder / "pictures")
    (folder / "labels.txt").write_text("\n".join(WORDS) + "\n")
    told = [
        {
            "picture": name,
            "digit": WORDS[true],
            "answered": [WORDS[place] for place in places],
            "probabilities": answer[places].tolist(),
        }
        for name, true, places, answer in zip(names, truth, best, probabilities, strict=True)
    ]
    (folder / "test.json").write_text(json.dumps(told, indent=0))
    print(f"{(best[:, 0] == truth).sum()} of {len(truth)} digits right")
    if folder.resolve() != HERE:
        shutil.copy(HERE / "pipeline.yaml", folder)


if __name__ == "__main__":
    import torch

    main(Path(sys.argv[1]))
