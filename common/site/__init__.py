"""What the site's build needs beyond MkDocs and its theme: formulas, fonts, the schedule and the API reference.

`mathml` is a Markdown extension, so that any builder which knows Python-Markdown can use it. `prepare` writes ordinary
files below `docs/` (ignored by git), and `build` calls it before the builder, as `repro site` does. For another builder
run `python -m common.site` first.
"""
