# SPDX-License-Identifier: Apache-2.0
"""Around every rule: its bad and its good case, with a number nudged or a field changed."""

import re
import tempfile
from functools import cache
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from differential.drafts import Case, Draft, Link
from differential.mutations import MOST_STUBS, mutate
from differential.text_mutations import mutate_text
from support.rule_cases import EMBEDDED_RELEASE, rule_cases

_NUMBER = re.compile(rb"(?<![\w.\"])-?\d+(?![\w.\"])")
# Starting a Python stub costs as much as a hundred loads, and most rules do not look at the model file.
_SLOW = (b'backend: "python"', b'backend: "onnxruntime"', b'platform: "onnxruntime_onnx"')
_FILE_RULES = ("SIG", "REL", "REP104", "CFG102", "CFG6", "REP109")


@cache
def _cases():
    """Every case of a rule that the embedded release is about: code, side, files by path."""
    found = []
    for side in ("bad", "good"):
        for case in rule_cases(side):
            if case.release != EMBEDDED_RELEASE or not case.path.is_dir():
                continue
            with tempfile.TemporaryDirectory() as folder:
                files = _read(case.write(Path(folder)))
            if any(path.count("/") for path in files):
                found.append((case.code, side, files))
    return found


def _read(folder):
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            files[name] = Link(str(path.readlink()))
        elif path.is_file():
            files[name] = path.read_bytes()
        elif not any(path.iterdir()):
            files[name] = None
    return files


def a_neighbour(random, name):
    """A repository near one of the rules' own cases; its models get ``name`` in front of theirs."""
    code, side, files = random.choice(_cases())
    keeps_backend = code.startswith(_FILE_RULES) or random.random() < 0.05
    models = sorted({path.split("/", 1)[0] for path in files if "/" in path})
    configs = {model: files.get(f"{model}/config.pbtxt", b"") for model in models}
    changed = random.choice(models)
    history = [f"{code}/{side}"]
    renamed = {}
    for path, content in files.items():
        if "/" not in path:
            continue
        model, rest = path.split("/", 1)
        if rest == "config.pbtxt" and isinstance(content, bytes):
            text = _renamed(configs[model], models, name)
            text = text if keeps_backend else _made_fast(text)
            content = _nudged(random, text, history) if model == changed else text  # noqa: PLW2901
        renamed[f"{name}_{model}/{rest}"] = content
    wanted = [model for model in models if isinstance(configs[model], bytes) and b"ensemble" in configs[model]]
    target = random.choice(wanted) if wanted and random.random() < 0.8 else changed
    return Case("neighbour", f"{name}_{target}", renamed, tuple(history))


def _renamed(text, models, name):
    for model in models:
        text = re.sub(
            rb'((?:^|\s)(?:model_)?name:\s*")' + re.escape(model.encode()) + rb'"',
            rb"\1" + f'{name}_{model}"'.encode(),
            text,
        )
    return text


def _made_fast(text):
    for slow in _SLOW:
        text = text.replace(slow, b'backend: "native"')
    return text


def _nudged(random, text, history):
    chosen = random.random()
    if chosen < 0.2:
        return text
    if chosen < 0.55:
        return _with_another_number(random, text, history)
    draft = Draft("", model_config_pb2.ModelConfig(), text=text)
    try:
        text_format.Parse(text, draft.config)
    except (text_format.ParseError, UnicodeDecodeError):
        chosen = 1.0
    if chosen < 0.9:
        draft.text = None
        for _ in range(random.choice((1, 1, 2))):
            mutate(random, draft)
    else:
        mutate_text(random, draft)
    history += draft.history
    return draft.rendered()


def _with_another_number(random, text, history):
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return text
    found = random.choice(numbers)
    number = int(found.group())
    new = random.choice((number + 1, number - 1, number * 2, 0, -1, 1, -number, number + 100))
    if text[: found.start()].rstrip().endswith(b"count:"):
        new = min(new, MOST_STUBS)
    history.append(f"{number} became {new}")
    return text[: found.start()] + str(new).encode() + text[found.end() :]
