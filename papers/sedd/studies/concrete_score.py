"""Is score entropy better than concrete score matching, and are its ratios ratios? (Section 3.1, Appendix D.1)

Concrete score matching regresses on the ratios by a squared error, which lets them be negative; score entropy differs
in the divergence alone. Both are among the models of `training`, on the absorbing graph. This study reads those runs.
"""

from __future__ import annotations

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import paired_ratio, value_at
from common.harness.studies.study import Study
from papers.sedd.studies.training import SCALE, SIGN, training

CONCRETE = (
    " On the absorbing graph, weighted alike; the network's outputs are the ratios themselves, in units of "
    "r = 1/(e^σ̄ − 1). A ratio that is not positive counts as 10⁻³ r in the bound, which it would make infinite. "
    "Whether ratios are positive is judged on text: in a pilot of `quick` concrete score matching had learned too "
    "little to have any that is not."
)


def _bits(language: str) -> Quantity:
    return Quantity(
        "bits, concrete score matching over score entropy",
        training,
        paired_ratio("bpc", first={"model": "csm-absorb"}, second={"model": "sedd-absorb"}, language=language),
        SIGN,
        metric="bits per character, test set",
        unit="×",
        scale="log",
    )


def _on_text(preset: str, language: str) -> Claim:
    return Claim(
        f"concrete-score-{language}",
        "Score entropy keeps ratios positive, where concrete score matching leaves some that are zero or negative, "
        "and makes a worse model.",
        "Section 3.1 and Appendix D.1",
        (
            _bits(language),
            Quantity(
                "share of ratios not positive, concrete score matching",
                training,
                value_at("invalid", model="csm-absorb", language=language),
                Criterion(1e-3, reason="one in a thousand: about one in every sequence"),
                metric="of all edges of x_t, at t ~ U(0, 1]",
                # A ratio near 0 has either sign: another instruction set moved the share by a tenth.
                tolerance=0.3,
            ),
            Quantity(
                "share of ratios not positive, score entropy",
                training,
                value_at("invalid", model="sedd-absorb", language=language),
                Criterion(upper=0.0, reason="an exponential is positive: a check, not a finding"),
                expected=0.0,
                metric="of all edges of x_t, at t ~ U(0, 1]",
            ),
        ),
        presets=(preset,),
        kind="scaled",
        headline=True,
        excludes="the two losses exchanged; a squared error that learns no ratio below 0",
        deviation=SCALE + CONCRETE,
    )


STUDY = Study(
    "Score entropy or concrete score matching",
    "Does score entropy make a better model than concrete score matching, and does it keep the ratios positive?",
    (),
    (
        Claim(
            "concrete-score",
            "Concrete score matching makes a worse model than score entropy.",
            "Section 3.1 and Appendix D.1",
            (_bits("markov"),),
            presets=("quick",),
            kind="scaled",
            headline=True,
            excludes="the two losses exchanged",
            deviation=SCALE + CONCRETE,
        ),
        _on_text("small", "tinyshakespeare27"),
        _on_text("gpu", "text8"),
    ),
)
