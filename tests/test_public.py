"""What a public repository has: a licence, how to cite and contribute, a workflow that runs the two commands."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.harness.studies.paper import discover

ROOT = Path(__file__).resolve().parents[1]


def parsed(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_licence_is_the_one_that_the_package_states() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 the authors of this repository\n")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "MIT"
    assert parsed("CITATION.cff")["license"] == "MIT"


def test_the_citation_has_what_its_format_asks_for() -> None:
    cited = parsed("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["authors"] == [{"name": "the authors of this repository"}]
    for paper in cited["references"]:
        assert {"type", "title", "authors", "year", "url", "identifiers"} <= paper.keys()
        assert all(author.keys() == {"given-names", "family-names"} for author in paper["authors"])


def arxiv(reference: dict[str, Any]) -> str:
    (identifier,) = reference["identifiers"]
    assert identifier["type"] == "other"
    number = identifier["value"].removeprefix("arXiv:")
    assert reference["url"] == f"https://arxiv.org/abs/{number}"
    return str(number)


def test_the_papers_of_the_weeks_are_cited_as_schedule_and_cards_have_them() -> None:
    cited = {arxiv(reference): reference for reference in parsed("CITATION.cff")["references"]}
    schedule = tomllib.loads((ROOT / "docs" / "schedule.toml").read_text())["week"]
    papers = [paper for week in schedule for paper in week.get("paper", [])]
    assert [(paper["arxiv"], paper["title"]) for paper in papers] == [
        (number, reference["title"]) for number, reference in cited.items()
    ]
    for card in discover().values():
        authors = [f"{each['given-names']} {each['family-names']}" for each in cited[card.arxiv]["authors"]]
        assert (cited[card.arxiv]["title"], authors) == (card.title, list(card.authors))


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_workflow_runs_the_two_commands_and_publishes_the_site_from_main() -> None:
    workflow = parsed(".github/workflows/ci.yml")
    reproduce, publish = workflow["jobs"]["reproduce"], workflow["jobs"]["publish"]
    ran = commands(reproduce)
    assert [command for command in ran if command.startswith("make")] == [
        "make run",
        "make test",
        "make test-slow",
        "make site",
    ]
    assert any("apt-get install" in command and "chromium" in command for command in ran)
    assert reproduce["container"]["image"].startswith("python:3.11-")
    for targets in [command.removeprefix("make ") for command in ran if command.startswith("make ")]:
        assert re.search(rf"^{targets}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (upload,) = [step for step in reproduce["steps"] if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == "site"
    assert upload["if"] == publish["if"] == "github.ref == 'refs/heads/main'"
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert workflow[True] == {"push": {"branches": ["main"]}, "pull_request": None}  # YAML reads `on` as true


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_pages_lead_to_what_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / link).exists()] == []
    if page == "CONTRIBUTING.md":
        assert "docs/contributing.md" in links


def test_the_changelog_has_a_section_for_every_paper() -> None:
    headings = re.findall(r"^## Week (\d+) · ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {paper.week for paper in discover().values()} <= set(map(int, headings))
    assert headings == sorted(headings, key=int, reverse=True)
