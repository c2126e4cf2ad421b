"""What SEDD claims, as numbers with criteria: the bound and the losses here, samples in `claims_sampling`.

The criteria were written before the runs that are reported. Pilots on seed 100 settled how long the quick networks
train, the numbers of draws, and which steps are compared; where one settled more, the claim's deviation says so. These
modules import nothing heavy, because the card does not.
"""

from __future__ import annotations

from itertools import pairwise

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import paired_ratio, value_at
from papers.sedd.claims_sampling import SAMPLING_CLAIMS
from papers.sedd.measures import largest_departure, least, least_error
from papers.sedd.published import TEXT8_BPC

ALL = ("quick", "small", "gpu")
GRAPH_NAMES = {"absorb": "absorbing", "uniform": "uniform"}
NAMES = {
    "ar": "autoregressive",
    "sedd-absorb": "SEDD absorbing",
    "sedd-uniform": "SEDD uniform",
    "d3pm-absorb": "D3PM absorbing",
    "d3pm-uniform": "D3PM uniform",
}
SCALE = (
    "`quick` trains transformers of two blocks of 32 on Markov sources of 8 tokens, L = 32, `small` of four blocks of "
    "64 on tinyshakespeare in text8's 27 letters, L = 64, 2000 steps of 16 sequences; the paper's have 12 blocks of "
    "768, on text8 at L = 256. The models have the same blocks and test set, and draw from streams of the same seed; "
    "those that denoise have time modulation besides, as in the paper (1.6 times the weights at the size of `small`). "
    "As in the official code, masks are trained along log-linear noise and the uniform graph along geometric noise. "
    "Bounds are integrated from t = 0 and count the prior term. That `quick` has one source for all seeds, and four "
    "seeds, and the noise of the uniform graph were settled after numbers had been seen."
)
D3PM_SETUP = (
    " D3PM is trained and judged on 1000 steps of log-linear noise, with 0.01 times its auxiliary cross-entropy at "
    "each step: on masks about five sixths of its loss. Pilots judged it by the continuous-time bound, which on the "
    "uniform graph asks for noise below its first step. As published, D3PM uniform had a cosine schedule and no "
    "auxiliary term."
)
CONCRETE = (
    " On the absorbing graph, weighted alike; the network's outputs are the ratios themselves, in units of "
    "r = 1/(e^σ̄ − 1). A ratio that is not positive counts as 10⁻³ r in the bound, which it would make infinite. "
    "Whether ratios are positive is judged on text: in a pilot of `quick` concrete score matching had learned too "
    "little to have any that is not."
)
SIGN = Criterion(1.0, reason="the claim is the order, on paired seeds")


def ratio(worse: str, better: str, language: str, criterion: Criterion = SIGN) -> Quantity:
    """Bits per character of one model over another's."""
    published = TEXT8_BPC[worse] / TEXT8_BPC[better]
    measure = paired_ratio("bpc", first={"model": worse}, second={"model": better}, language=language)
    return Quantity(
        f"{NAMES[worse]} over {NAMES[better]}",
        "training",
        measure,
        criterion,
        round(published, 3),
        unit="×",
        floor=0.02,
        scale="log",
    )


def _order(language: str) -> tuple[Quantity, ...]:
    order = ("ar", "sedd-absorb", "sedd-uniform")
    return tuple(ratio(worse, better, language) for better, worse in pairwise(order))


def _d3pm(language: str, *graphs: str) -> tuple[Quantity, ...]:
    return tuple(ratio(f"d3pm-{graph}", f"sedd-{graph}", language) for graph in graphs)


def _concrete(language: str) -> tuple[Quantity, ...]:
    measure = paired_ratio("bpc", first={"model": "csm-absorb"}, second={"model": "sedd-absorb"}, language=language)
    return (
        Quantity(
            "bits, concrete score matching over score entropy",
            "training",
            measure,
            SIGN,
            unit="×",
            floor=0.05,
            scale="log",
        ),
    )


def _invalid(language: str) -> tuple[Quantity, ...]:
    return (
        Quantity(
            "share of ratios not positive, concrete score matching",
            "training",
            value_at("invalid", model="csm-absorb", language=language),
            Criterion(1e-3, reason="one in a thousand: about one in every sequence"),
            floor=0.01,
        ),
        Quantity(
            "share of ratios not positive, score entropy",
            "training",
            value_at("invalid", model="sedd-absorb", language=language),
            Criterion(upper=0.0, reason="an exponential is positive: a check, not a finding"),
        ),
    )


def _models(preset: str, language: str) -> tuple[Claim, ...]:
    suffix = "" if preset == "quick" else f"-{language}"
    return (
        Claim(
            f"bits{suffix}",
            "On the same transformer and budget bits per character rise from autoregression to absorbing to uniform "
            "SEDD.",
            "Section 5, Table 1",
            _order(language),
            presets=(preset,),
            deviation=SCALE,
        ),
        Claim(
            f"d3pm{suffix}",
            "SEDD has fewer bits per character than D3PM on the same graph.",
            "Section 5, Table 1",
            _d3pm(language, "absorb") if preset == "quick" else _d3pm(language, *GRAPH_NAMES),
            presets=(preset,),
            deviation=SCALE + D3PM_SETUP,
        ),
        Claim(
            f"concrete-score{suffix}",
            "Concrete score matching makes a worse model than score entropy."
            if preset == "quick"
            else "Score entropy keeps ratios positive, where concrete score matching leaves some that are none, and a "
            "worse model.",
            "Section 3.1 and Appendix D.1",
            _concrete(language) if preset == "quick" else (*_concrete(language), *_invalid(language)),
            presets=(preset,),
            deviation=SCALE + CONCRETE,
        ),
    )


CLAIMS = (
    Claim(
        "bound",
        "With exact ratios the likelihood bound is the entropy of the data, for both graphs.",
        "Theorem 3.6",
        (
            Quantity(
                "largest |bound / entropy − 1|, enumerated",
                "exact_bound",
                largest_departure("relative_gap", 0.0, error=0.0),
                Criterion(upper=1e-6, reason="an identity; the quadrature of a smooth integrand is far better"),
                published=0.0,
                floor=1e-12,
            ),
            *(
                Quantity(
                    f"bound over entropy, {name}, sampled",
                    "sampled_bound",
                    value_at("over_entropy", graph=graph, error=0.0),
                    Criterion(
                        0.98, 1.02, "2 %: twice the Monte Carlo interval, a third of what tells the graphs apart"
                    ),
                    published=1.0,
                    floor=0.01,
                )
                for graph, name in GRAPH_NAMES.items()
            ),
        ),
        presets=ALL,
        deviation="No network: a random law on 81 sequences by quadrature and sums, less the information I(x_0; x_T) "
        "that log-linear noise leaves (1e-3 of a token); and Markov sources of 8 tokens, L = 32, by the sampled bound. "
        "That it is sampled along geometric noise on the uniform graph, where uniform times of log-linear noise leave "
        "it an infinite variance, was settled after numbers had been seen.",
    ),
    Claim(
        "bound-below",
        "No score has a bound below the entropy.",
        "Theorem 3.6",
        (
            Quantity(
                "least (bound / entropy − 1) of wrong scores, enumerated",
                "exact_bound",
                least_error,
                Criterion(1e-6, reason="above, by the divergence that the error adds; 1e-6 is the quadrature's own"),
                floor=0.7,
                scale="log",
            ),
            Quantity(
                "least z of a sampled bound above −log p",
                "sampled_bound",
                least("z"),
                Criterion(-4.0, reason="four standard errors, with room for the heavy tail of log s at small noise"),
                floor=2.0,
            ),
        ),
        presets=ALL,
        deviation="Scores are exact, or wrong by a random factor e^z with z of standard deviation 0.1 or 0.3.",
    ),
    Claim(
        "bound-trained",
        "No trained model's sampled bound is below the entropy.",
        "Theorem 3.6",
        (
            Quantity(
                "least z over all models",
                "training",
                least("z"),
                Criterion(-4.0, reason="as for exact scores"),
                floor=3.0,
            ),
        ),
        presets=("quick",),
        deviation=SCALE,
    ),
    Claim(
        "masked",
        "Absorbing SEDD with s = r p_θ is masked cross-entropy.",
        "Section 3; MDLM (2406.07524)",
        (
            Quantity(
                "relative difference of the losses",
                "masked_identity",
                value_at("loss_difference"),
                Criterion(upper=1e-6, reason="an identity in float64, with room for the sum over a vocabulary"),
                published=0.0,
                floor=1e-13,
            ),
            Quantity(
                "relative difference of the gradients",
                "masked_identity",
                value_at("gradient_difference"),
                Criterion(upper=1e-6, reason="an identity in float64, with room for the sum over a vocabulary"),
                published=0.0,
                floor=1e-13,
            ),
        ),
        presets=ALL,
        deviation="Random guesses p_θ on 27 tokens, L = 64, at 256 noise levels.",
    ),
    *_models("quick", "markov"),
    *_models("small", "tinyshakespeare27"),
    Claim(
        "bits-ratios",
        "Absorbing SEDD is about 13 % above autoregression in bits per character, and uniform SEDD 6 % above "
        "absorbing.",
        "Section 5, Table 1",
        (
            ratio("sedd-absorb", "ar", "tinyshakespeare27", Criterion(1.03, 1.23, "1.13 published, ± 0.1")),
            ratio(
                "sedd-uniform", "sedd-absorb", "tinyshakespeare27", Criterion(1.02, 1.15, "1.06 published; not a tie")
            ),
        ),
        presets=("small",),
        deviation=SCALE,
    ),
    Claim(
        "bits-tinyshakespeare",
        "The order of the three is the same with capitals and punctuation.",
        "Section 5, Table 1",
        _order("tinyshakespeare"),
        presets=("small",),
        deviation=SCALE + " The alphabet has 65 characters; the paper's number is text8's.",
    ),
    *_models("gpu", "text8"),
    Claim(
        "bits-table",
        "Bits per character on text8.",
        "Section 5, Table 1",
        tuple(
            Quantity(
                NAMES[model],
                "training",
                value_at("bpc", model=model, language="text8"),
                Criterion(published - 0.03, published + 0.03, "0.03 bits, 2 % of the least"),
                published,
                unit="bits",
                floor=0.01,
            )
            for model, published in TEXT8_BPC.items()
        ),
        presets=("gpu",),
        deviation=SCALE + D3PM_SETUP,
    ),
    *SAMPLING_CLAIMS,
)
