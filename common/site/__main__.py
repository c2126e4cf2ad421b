from pathlib import Path

from common.site.hook import prepare

prepare(Path.cwd())
