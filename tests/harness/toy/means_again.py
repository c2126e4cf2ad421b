"""The same study under another name, which a paper may not have twice."""

from toy.means import STUDY

__all__ = ["STUDY"]
