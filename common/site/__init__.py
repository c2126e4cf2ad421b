"""What the site's build needs beyond MkDocs and its theme: formulas, fonts, the schedule and the API reference.

`mathml` is a Markdown extension, so that any builder which knows Python-Markdown can use it. The rest writes ordinary
files below `docs/` (ignored by git) before the build: MkDocs calls `hook`, for another builder run `python -m
common.site` first.
"""
