# SPDX-License-Identifier: Apache-2.0
"""Train a small detector of shapes and a classifier of their colours on drawn pictures, and save what they answer.

``python train.py FOLDER`` takes half a minute and writes into FOLDER:

``shapes.pt2``, ``shapes.sample.npz``    the detector, and rows for ``repo-tool add-model``
``colours.pt2``, ``colours.sample.npz``  the classifier of what it finds, and rows
``pipeline.yaml``, ``with_colours.yaml``, ``shapes.txt``, ``colours.txt``  the pipelines and the words that they use
``pictures/``    raw samples, PNG files of different sizes
``test/``        the pictures of the test set
``test.json``    of each of them what is drawn in it and what was found: shape, colour, score, box in pixels
"""

import io
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

HERE = Path(__file__).parent
SEED = 7
SHAPES, COLOURS = ("circle", "rectangle"), ("red", "green", "blue", "yellow")
RGB = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 200), "yellow": (220, 200, 50)}
SIDE, STRIDE, CROP = 96, 8, 16  # pixels of the detector's input, of a cell, of the classifier's input
CELLS = SIDE // STRIDE
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SCORE, IOU, MOST = 0.35, 0.4, 10
TRAIN, TEST, SAMPLES, EPOCHS = 480, 120, 16, 14

Box = tuple[float, float, float, float]  # left, top, right, bottom
Thing = dict[str, object]


def draw(random: np.random.Generator) -> tuple[Image.Image, list[Thing]]:
    """A picture of a size of its own with two to four things, which may overlap a little."""
    width, height = (int(side) for side in random.integers(100, 180, 2))
    shade = random.integers(90, 170, 3) + random.integers(-12, 13, (height, 1, 1)) + np.zeros((1, width, 1))
    picture = Image.fromarray(shade.astype(np.uint8))
    pen, things = ImageDraw.Draw(picture), []
    for _ in range(random.integers(2, 5)):
        shape, colour = str(random.choice(SHAPES)), str(random.choice(COLOURS))
        wide = int(random.integers(20, 50))
        high = wide if shape == "circle" else int(random.integers(20, 50))
        left, top = int(random.integers(0, width - wide)), int(random.integers(0, height - high))
        box = (left, top, left + wide, top + high)
        if any(overlap(box, other["box"]) > 0.1 for other in things):
            continue
        tone = tuple(int(value) for value in np.array(RGB[colour]) + random.integers(-20, 21, 3))
        outline = (box[0], box[1], box[2] - 1, box[3] - 1)  # Pillow draws the last pixel, too
        (pen.ellipse if shape == "circle" else pen.rectangle)(outline, fill=tone)
        things.append({"shape": shape, "colour": colour, "box": box})
    return picture, things


def overlap(one: Box, other: Box) -> float:
    """What two boxes share, as a part of both together."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def letterboxed(picture: Image.Image) -> tuple[np.ndarray, float, float, int, int]:
    """The picture in a square: its pixels, how much it shrank across and down, and where it begins."""
    width, height = picture.size
    longest = max(width, height)
    new_width, new_height = int(SIDE * width / longest), int(SIDE * height / longest)
    left, top = (SIDE - new_width) // 2, (SIDE - new_height) // 2
    square = Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
    square.paste(picture.resize((new_width, new_height), Image.Resampling.BILINEAR), (left, top))
    return np.asarray(square), new_width / width, new_height / height, left, top


def normalised(pixels: np.ndarray) -> np.ndarray:
    """uint8 [rows, height, width, 3] as float32 [rows, 3, height, width]."""
    scaled = (pixels.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def preprocess(image: bytes) -> dict[str, np.ndarray]:
    """What the detector was trained on: for ``repo-tool add-pipeline --reference``."""
    with Image.open(io.BytesIO(image)) as opened:
        square = letterboxed(opened.convert("RGB"))[0]
    return {"padded": square, "tensor": normalised(square[None])[0]}


class Detector(nn.Module):
    """For each cell [144, 7]: how far its box is off, and the logarithm of its size, in cells; sure; of which shape."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 12, 2), (12, 24, 2), (24, 48, 2), (48, 48, 1)):
            layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Conv2d(48, 5 + len(SHAPES), 1))

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        return self.features(image).flatten(2).transpose(1, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.logits(image)
        return torch.cat([cells[:, :, :4], torch.sigmoid(cells[:, :, 4:])], dim=2)


class ColourClassifier(nn.Module):
    """Logits of the colours of a crop [3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 9, len(COLOURS)),
        )

    def forward(self, crop: torch.Tensor) -> torch.Tensor:
        return self.layers(crop)


def wanted(things: list[Thing], place: tuple[float, float, int, int]) -> np.ndarray:
    """What the detector should say of a picture: the cells around the middle of a thing each tell of it."""
    across, down, left, top = place
    told = np.zeros((CELLS, CELLS, 6), dtype=np.float32)  # shift, size, sure, shape
    for thing in things:
        box = np.array(thing["box"]) * (across, down, across, down) + (left, top, left, top)
        middle, size = (box[:2] + box[2:]) / 2 / STRIDE, (box[2:] - box[:2]) / STRIDE
        for row in range(CELLS):
            for column in range(CELLS):
                away = max(abs(column + 0.5 - middle[0]), abs(row + 0.5 - middle[1]))
                if away < 1:  # the nearest cell is the surest, so that no two are equally sure of a thing
                    shift = middle - (column, row)
                    told[row, column] = [*shift, *np.log(size), 1 - away / 2, SHAPES.index(thing["shape"])]
    return told.reshape(-1, 6)


def train_detector(squares: np.ndarray, answers: np.ndarray) -> Detector:
    model = Detector()
    rows, told = torch.from_numpy(normalised(squares)), torch.from_numpy(answers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * math.ceil(len(rows) / 16))
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(16):
            said, right = model.logits(rows[batch]), told[batch]
            there = right[:, :, 4] > 0
            sure = nn.functional.binary_cross_entropy_with_logits(said[:, :, 4], right[:, :, 4])
            shape = nn.functional.cross_entropy(said[there][:, 5:], right[there][:, 5].long())
            place = nn.functional.smooth_l1_loss(said[there][:, :4], right[there][:, :4], beta=0.1)
            optimizer.zero_grad()
            (5 * sure + shape + 2 * place).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def train_classifier(crops: np.ndarray, answers: np.ndarray) -> ColourClassifier:
    model = ColourClassifier()
    rows, told = torch.from_numpy(normalised(crops)), torch.from_numpy(answers)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for batch in torch.randperm(len(rows)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows[batch]), told[batch]).backward()
            optimizer.step()
    return model.eval()


def cut_out(square: np.ndarray, box: Box) -> np.ndarray:
    """What the box holds, within the picture, as the classifier takes it."""
    inside = tuple(float(min(max(side, 0), SIDE)) for side in box)
    return np.asarray(Image.fromarray(square).resize((CROP, CROP), Image.Resampling.BILINEAR, box=inside))


def find(predictions: np.ndarray) -> list[tuple[float, str, Box]]:
    """The things of a picture, the surest first: a box that a surer one of its shape covers is left out."""
    candidates = []
    for cell, (shift_x, shift_y, wide, high, sure, *shapes) in enumerate(predictions):
        row, column = divmod(cell, CELLS)
        x, y = (shift_x + column) * STRIDE, (shift_y + row) * STRIDE
        width, height = np.exp(wide) * STRIDE, np.exp(high) * STRIDE
        scores = [sure * shape for shape in shapes]
        if max(scores) > SCORE:
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            candidates.append((max(scores), SHAPES[scores.index(max(scores))], box))
    kept: list[tuple[float, str, Box]] = []
    for score, shape, box in sorted(candidates, key=lambda candidate: -candidate[0]):
        if all(shape != other_shape or overlap(box, other) <= IOU for _, other_shape, other in kept):
            kept.append((score, shape, box))
    return kept[:MOST]


def answer(picture: Image.Image, detector: Detector, classifier: ColourClassifier) -> list[Thing]:
    """What is found in a picture, in its own pixels."""
    square, across, down, left, top = letterboxed(picture)
    with torch.inference_mode():
        predictions = detector(torch.from_numpy(normalised(square[None])))[0].numpy()
        found = find(predictions)
        things = []
        for score, shape, box in found:
            logits = classifier(torch.from_numpy(normalised(cut_out(square, box)[None])))[0]
            x = [min(max((side - left) / across, 0), picture.width) for side in box[::2]]
            y = [min(max((side - top) / down, 0), picture.height) for side in box[1::2]]
            corners = [float(side) for side in (x[0], y[0], x[1], y[1])]
            things.append(
                {"box": corners, "shape": shape, "score": float(score), "colour": COLOURS[int(logits.argmax())]}
            )
    return things


def found_again(drawn: list[Thing], found: list[Thing]) -> int:
    """How many of the things that are drawn were found, with shape and colour."""
    return sum(
        any(
            overlap(thing["box"], each["box"]) > 0.5
            and (thing["shape"], thing["colour"]) == (each["shape"], each["colour"])
            for each in found
        )
        for thing in drawn
    )


def save_model(folder: Path, name: str, model: nn.Module, rows: np.ndarray, argument: str) -> None:
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(model, (torch.from_numpy(rows[:2]),), dynamic_shapes={argument: {0: batch}})
    torch.export.save(program, folder / f"{name}.pt2")
    np.savez_compressed(folder / f"{name}.sample.npz", **{argument: rows[:32]})


def save_pictures(folder: Path, pictures: list[Image.Image]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        picture.save(folder / f"{index:03}.png")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # a network this small only waits for more of them
    random = np.random.default_rng(SEED)
    drawn = [draw(random) for _ in range(TRAIN + TEST)]
    squares, crops, colours, answers = [], [], [], []
    for picture, things in drawn[:TRAIN]:
        square, *place = letterboxed(picture)
        across, down, left, top = place
        squares.append(square)
        answers.append(wanted(things, (across, down, left, top)))
        for thing in things:
            box = np.array(thing["box"]) * (across, down, across, down) + (left, top, left, top)
            crops.append(cut_out(square, tuple(box)))
            colours.append(COLOURS.index(thing["colour"]))
    detector = train_detector(np.stack(squares), np.stack(answers))
    classifier = train_classifier(np.stack(crops), np.array(colours))

    save_model(folder, "shapes", detector, normalised(np.stack(squares[:32])), "image")
    save_model(folder, "colours", classifier, normalised(np.stack(crops[:32])), "crop")
    (folder / "shapes.txt").write_text("\n".join(SHAPES) + "\n")
    (folder / "colours.txt").write_text("\n".join(COLOURS) + "\n")
    save_pictures(folder / "pictures", [picture for picture, _ in drawn[:SAMPLES]])
    save_pictures(folder / "test", [picture for picture, _ in drawn[TRAIN:]])
    rows = [
        {"picture": f"{index:03}.png", "drawn": things, "found": answer(picture, detector, classifier)}
        for index, (picture, things) in enumerate(drawn[TRAIN:])
    ]
    (folder / "test.json").write_text(json.dumps(rows, indent=0))
    again, all_things = sum(found_again(row["drawn"], row["found"]) for row in rows), sum(len(r["drawn"]) for r in rows)
    print(f"{again} of {all_things} things found, and {sum(len(row['found']) for row in rows) - again} that are wrong")
    if folder.resolve() != HERE:
        shutil.copy(HERE / "pipeline.yaml", folder)
        shutil.copy(HERE / "with_colours.yaml", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
