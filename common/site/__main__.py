"""`python -m common.site`: write what the site is built from, for a builder that is called by hand."""

from pathlib import Path

from common.site.prepare import prepare

prepare(Path.cwd())
