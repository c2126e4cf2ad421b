"""The site's fonts, cut from the packages that carry them to the characters that pages use, and written as WOFF.

Text is Source Sans 3 (package fontpkg-source-sans-3); formulas are STIX Two Math (package ziamath), which has the MATH
table that browsers need to stretch brackets and place limits. Both are under the SIL Open Font License.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

TEXT_RANGES = (
    (0x20, 0x17F),
    (0x300, 0x338),
    (0x370, 0x3FF),
    (0x1D40, 0x1D6A),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x209F),
    (0x20AC, 0x20AC),
    (0x2190, 0x22FF),
)
MATH_RANGES = (
    (0x20, 0x7E),
    (0xA0, 0xFF),
    (0x2C6, 0x2DC),
    (0x300, 0x338),
    (0x370, 0x3FF),
    (0x2000, 0x214F),
    (0x2190, 0x23FF),
    (0x25A0, 0x25FF),
    (0x27E6, 0x27FF),
    (0x2A00, 0x2A06),
    (0x2A7D, 0x2A7E),
    (0x1D400, 0x1D56B),
    (0x1D6A4, 0x1D7CB),
)

FEATURES = ["ccmp", "kern", "mark", "mkmk", "math", "ssty", "dtls", "flac"]
"""What keeps accents in place and lets formulas choose the smaller letters of scripts."""

FONTS = {
    "text.woff": ("fontpkg_source_sans_3", "files/SourceSans3[wght].ttf", TEXT_RANGES),
    "text-italic.woff": ("fontpkg_source_sans_3", "files/SourceSans3-Italic[wght].ttf", TEXT_RANGES),
    "math.woff": ("ziamath", "fonts/STIXTwoMath-Regular.ttf", MATH_RANGES),
}
"""File name: the package, the font's path in it, the characters kept."""


def write_fonts(folder: Path) -> None:
    """Write every font below `folder`, unless the same of the same packages are there already."""
    stamp = folder / ".versions"
    packages = [f"{name} {version(name)}" for name in ("fontpkg-source-sans-3", "ziamath", "fonttools")]
    wanted = "\n".join([*packages, repr(FONTS), repr(FEATURES)])
    if stamp.exists() and stamp.read_text() == wanted and all((folder / name).exists() for name in FONTS):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, (package, path, ranges) in FONTS.items():
        _subset(Path(str(files(package).joinpath(path))), folder / name, ranges)
    stamp.write_text(wanted)


def _subset(source: Path, target: Path, ranges: tuple[tuple[int, int], ...]) -> None:
    from fontTools import subset

    options = subset.Options(
        flavor="woff",
        layout_features=FEATURES,
        notdef_outline=True,
    )
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for first, last in ranges for code in range(first, last + 1)])
    subsetter.subset(font)
    subset.save_font(font, str(target), options)
