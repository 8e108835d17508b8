# SPDX-License-Identifier: Apache-2.0
"""What is done to the files of a model directory: versions, model files, labels, warm-up data, links, odd folders."""

from differential.drafts import MISSING, Link

_ODD_FOLDERS = (
    "0",
    "01",
    "007",
    "1abc",
    "2-old",
    "abc",
    "-1",
    "+3",
    " 4",
    "1.5",
    "warmup",
    "initial_state",
    "configs",
    ".git",
    "999",
    "2147483648",
    "9223372036854775807",
    "00",
    "1 ",
    "0x5",
    "v1",
    "1e3",
    "9223372036854775808",
    "99999999999999999999",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "+0",
    "-0",
    "configs2",
    "__pycache__",
    "1_0",
)


def mutate_files(random, draft):
    """One change of the files beside config.pbtxt, or of that file's being there."""
    change = random.choice(_CHANGES)
    change(random, draft)
    draft.did(change.__name__.strip("_").replace("_", " "))


def _pick(random, draft, *, beginning=""):
    names = [path for path, what in draft.files.items() if what is not MISSING and path.startswith(beginning)]
    return random.choice(names) if names else None


def _a_file_removed(random, draft):
    if path := _pick(random, draft):
        draft.files[path] = MISSING


def _a_file_renamed(random, draft):
    if path := _pick(random, draft):
        draft.files[path + random.choice(("2", ".bak"))] = draft.files[path]
        draft.files[path] = MISSING


def _a_file_emptied(random, draft):
    if path := _pick(random, draft):
        draft.files[path] = b""


def _a_file_grown(random, draft):
    if (path := _pick(random, draft)) and isinstance(draft.files[path], bytes):
        draft.files[path] += b"more"


def _a_file_made_a_folder(random, draft):
    if path := _pick(random, draft):
        draft.files[path] = None


def _a_file_made_a_link_out(random, draft):
    if path := _pick(random, draft):
        draft.files[path] = Link(random.choice(("/etc/hostname", "/nowhere", "/srv", ".", "..")))


def _a_version_renamed(random, draft):
    path = _pick(random, draft)
    if path and "/" in path:
        folder = path.partition("/")[0]
        new = random.choice(_ODD_FOLDERS)
        for each in [each for each in draft.files if each.startswith(f"{folder}/")]:
            draft.files[f"{new}/{each.partition('/')[2]}"] = draft.files[each]
            draft.files[each] = MISSING


def _a_folder_added(random, draft):
    draft.files[f"{random.choice(_ODD_FOLDERS)}/{random.choice(('model.bin', 'readme', 'model.plan'))}"] = b"x"


def _an_empty_folder_added(random, draft):
    draft.files[random.choice(_ODD_FOLDERS)] = None


def _a_file_called_as_a_version(random, draft):
    draft.files[random.choice(("5", "01", "9", "configs", "warmup"))] = b"x"


def _a_link_for_a_version(random, draft):
    draft.files[random.choice(("3", "6"))] = Link(random.choice(("1", "/srv", "/nowhere", "../elsewhere", ".", "..")))


def _no_versions(random, draft):
    for path in list(draft.files):
        if path.split("/", 1)[0].isdigit():
            draft.files[path] = MISSING
    if random.random() < 0.3:
        draft.files["1"] = None


def _no_config(random, draft):
    draft.files["config.pbtxt"] = random.choice((MISSING, b"", None, b"\x00\x01\x02", b"# nothing\n", Link("/nowhere")))


def _a_label_elsewhere(random, draft):
    if not draft.config.output:
        return
    name = random.choice(
        (
            "1/labels.txt",
            "../labels.txt",
            "no.txt",
            "folder",
            "/etc/hostname",
            "a/../labels.txt",
            "link.txt",
            "./labels.txt",
            "sub/l.txt",
            "",
            "1",
            ".",
            "..",
            "/",
            " labels.txt",
        )
    )
    random.choice(draft.config.output).label_filename = name
    draft.text = None
    draft.files.setdefault("labels.txt", b"one\n")
    if name in ("folder", "link.txt", "sub/l.txt"):
        draft.files[name] = {"folder": None, "link.txt": Link("/etc/hostname"), "sub/l.txt": b"x\n"}[name]


def _a_variant_added(random, draft):
    draft.files[f"configs/{random.choice(('gpu', 'cpu'))}.pbtxt"] = random.choice((b"nonsense", draft.rendered()))


_CHANGES = (
    _a_file_removed,
    _a_file_removed,
    _a_file_renamed,
    _a_file_emptied,
    _a_file_grown,
    _a_file_made_a_folder,
    _a_file_made_a_link_out,
    _a_version_renamed,
    _a_version_renamed,
    _a_folder_added,
    _a_folder_added,
    _an_empty_folder_added,
    _a_file_called_as_a_version,
    _a_link_for_a_version,
    _no_versions,
    _no_config,
    _a_label_elsewhere,
    _a_label_elsewhere,
    _a_variant_added,
)
